"""Stages on which attacks are played."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.stage import Stage, staged
from tests.clock import FakeClock


@pytest.fixture(autouse=True)
def _hourly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_WINDOW_SECONDS", "3600")
    # No slot ends while a test runs, so that only what is uploaded goes out.
    monkeypatch.setenv("REGISTRY_SLOT_SECONDS", "86400")


@pytest.fixture
def stage(tmp_path: Path, clock: FakeClock) -> Iterator[Stage]:
    """Three honest witnesses, of whom two must cosign: k = 2 of n = 3, which no two branches can have."""
    with staged(tmp_path, clock) as made:
        yield made
