"""Campaigns that run tests of the suite with far more examples than the suite itself affords."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.soak.campaigns import Campaign, Found, Slice

ROOT = Path(__file__).parents[2]
LAST_LINES = 15


def _examples(piece: Slice) -> dict[str, str]:
    return {"REGISTRY_SOAK_EXAMPLES": str(piece.size)}


def pytest_with(
    *arguments: str, environment: Callable[[Slice], Mapping[str, str]] = lambda _: {}
) -> Callable[[Slice], Found]:
    """A slice's run: pytest with `arguments`, chance seeded by the slice, output in its log."""

    def run(piece: Slice) -> Found:
        command = [sys.executable, "-m", "pytest", *arguments, "-q"]
        command += ["-p", "no:cacheprovider", f"--hypothesis-seed={piece.seed}"]
        surroundings = {**os.environ, **environment(piece)}
        with piece.log.open("wb") as log:
            status = subprocess.run(
                command, cwd=ROOT, env=surroundings, stdout=log, stderr=log, check=False
            ).returncode
        if status == 0:
            return Found(piece.size)
        end = "\n".join(piece.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        return Found(0, [f"pytest ended with status {status}:\n{end}"])

    return run


CAMPAIGNS = (
    Campaign(
        # Exhaustive, so that a second pass could only find what chance hides.
        name="publish_faults",
        unit="pass with a fault at every call",
        slices=1,
        size=1,
        run=pytest_with(
            "tests/crash/test_publish_faults.py", environment=lambda _: {"REGISTRY_SOAK_STEP": "1"}
        ),
    ),
    Campaign(
        name="publish_faults_s3",
        unit="pass with a fault at every call",
        slices=1,
        size=1,
        run=pytest_with(
            *("tests/storage/test_publishing_to_s3.py", "-k", "of_any_call or at_any_call"),
            environment=lambda _: {"REGISTRY_SOAK_STEP": "1"},
        ),
    ),
    Campaign(
        name="openapi_calls",
        unit="calls",
        slices=1,
        size=2000,
        run=pytest_with("tests/test_openapi.py", environment=_examples),
    ),
    Campaign(
        name="properties",
        unit="examples of each property",
        slices=5,
        size=500,
        run=pytest_with(
            *("tests/protocol", "tests/client", "tests/lifecycle", "-m", "hypothesis"),
            *("-p", "tests.soak.many_examples", "--hypothesis-profile=soak"),
            environment=_examples,
        ),
    ),
)
