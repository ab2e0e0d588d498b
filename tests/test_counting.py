"""The suite's promise about itself: PostgreSQL is never left out unseen. Small suites are run to see it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUPPORT = (
    "__init__.py",
    "app_of_old.py",
    "clock.py",
    "conftest.py",
    "postgres.py",
    "storage/__init__.py",
    "storage/seaweedfs.py",
    "system_tools.py",
    "world.py",
)

BOTH_RUN = "def test_story(backend): pass"
ONE_SKIPS = """
import pytest

def test_story(backend):
    if backend == "postgresql":
        pytest.skip("not today")

@pytest.mark.postgresql
def test_of_its_own(): pass
"""
NONE_ON_POSTGRESQL = """
import pytest

def test_story(): pass

@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_of_files(backend): pass
"""


@pytest.fixture
def run_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function that runs a suite of one file under this suite's conftest: its exit code, what it printed."""
    (tmp_path / "tests").mkdir()
    for name in SUPPORT:
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "tests" / name, tmp_path / "tests" / name)
    shutil.copyfile(ROOT / "setup.cfg", tmp_path / "setup.cfg")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the others take seconds to import

    def run(text: str, *arguments: str) -> tuple[int, str]:
        (tmp_path / "tests" / "test_small.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "xdist.plugin", *arguments]
        outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return outcome.returncode, outcome.stdout + outcome.stderr

    return run


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_suite_that_runs_on_both_passes_and_says_how_often(run_suite, workers: str) -> None:
    code, printed = run_suite(BOTH_RUN, "-n", workers)

    assert code == 0, printed
    assert "ran on postgresql: 1 tests" in printed


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_twin_that_was_skipped_fails_the_suite(run_suite, workers: str) -> None:
    code, printed = run_suite(ONE_SKIPS, "-n", workers)

    assert code == 1, printed
    assert "only 0 of 1 SQLite tests ran on PostgreSQL too" in printed


def test_a_suite_without_postgresql_fails(run_suite) -> None:
    code, printed = run_suite(NONE_ON_POSTGRESQL)

    assert code == 1, printed
    assert "no test ran on PostgreSQL" in printed


@pytest.mark.parametrize("subset", [("-k", "sqlite"), ("tests/test_small.py",)])
def test_a_part_that_somebody_chose_is_not_held_to_it(run_suite, subset: tuple[str, ...]) -> None:
    code, printed = run_suite(ONE_SKIPS, *subset)

    assert code == 0, printed


def test_a_missing_tool_fails_where_it_is_required(run_suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("REGISTRY_TEST_REQUIRE_SYSTEM_TOOLS", raising=False)  # CI sets it
    story = "def test_story(system_tool): system_tool('protoc')"

    assert run_suite(story, "tests/test_small.py")[0] == 0
    monkeypatch.setenv("REGISTRY_TEST_REQUIRE_SYSTEM_TOOLS", "1")
    code, printed = run_suite(story, "tests/test_small.py")

    assert code == 1
    assert "protoc is not installed" in printed
