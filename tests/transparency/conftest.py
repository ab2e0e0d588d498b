"""A collecting half that is ready to publish, on both databases, and its log as a stranger reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.models import open_database
from registry.storage.local import LocalStorage
from tests.clock import FakeClock
from tests.publishing import Publishing
from tests.transparency.public_log import PublicLog


@pytest.fixture
def stage(collecting_url: str, tmp_path: Path, clock: FakeClock) -> Iterator[Publishing]:
    engine = open_database(collecting_url)
    yield Publishing(engine, LocalStorage(tmp_path / "public"), clock)
    engine.dispose()


@pytest.fixture
def public_log(stage: Publishing) -> PublicLog:
    return PublicLog(stage.storage, stage.log)
