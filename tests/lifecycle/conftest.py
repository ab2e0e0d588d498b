"""A collecting half that is ready to publish, on both databases, with its public files on a disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.models import open_database
from registry.storage.local import LocalStorage
from tests.clock import FakeClock
from tests.publishing import Publishing


@pytest.fixture
def stage(collecting_url: str, tmp_path: Path, clock: FakeClock) -> Iterator[Publishing]:
    engine = open_database(collecting_url)
    yield Publishing(engine, LocalStorage(tmp_path / "public"), clock)
    engine.dispose()
