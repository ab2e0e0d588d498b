"""Files of two regions, and both formats of one, are made at once; trouble in one is its own, and told."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from registry.errors import LeaseLost, PublishingFailed
from registry.lifecycle.publish import side_by_side as module
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.side_by_side import Job, Work, carry_out
from registry.models import CollectingBase, open_database
from registry.protocol.manifest import ManifestFile
from registry.storage import Storage
from tests.clock import FakeClock
from tests.publishing import NOON, FailingStorage, MemoryStorage, Publishing, key_ending

PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1})


@pytest.fixture
def stage(tmp_path: Path, clock: FakeClock) -> Iterator[Publishing]:
    engine = open_database(f"sqlite:///{tmp_path}/collecting.sqlite")
    CollectingBase.metadata.create_all(engine)
    yield Publishing(engine, MemoryStorage(), clock)
    engine.dispose()


class Meeting(FailingStorage):
    """Lets two puts go on only once both have come: those of paths that `matches` tells apart."""

    def __init__(self, storage: Storage, matches: Callable[[str], bool]) -> None:
        super().__init__(storage, lambda _call, _path: False, OSError())
        self._is_awaited = matches
        self._both = threading.Barrier(2)
        self.met: list[str] = []

    def put_new(self, path: str, content: bytes) -> bool:
        self._meet_at(path)
        return super().put_new(path, content)

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        self._meet_at(path)
        return super().put_new_file(path, source)

    def _meet_at(self, path: str) -> None:
        if self._is_awaited(path):
            self._both.wait(PATIENCE_SECONDS)
            self.met.append(path)


@pytest.mark.parametrize(
    "ending", [(".zip", ".compact"), (".zip",)], ids=["two formats of a region", "two regions"]
)
def test_files_are_stored_at_the_same_time(stage: Publishing, ending: tuple[str, ...]) -> None:
    regions = ["XA", "XB"] if len(ending) == 1 else ["XA"]
    for number, region in enumerate(regions):
        stage.collect([key_ending(NOON - 144, number)], regions=[region])
    storage = Meeting(stage.storage, lambda path: path.endswith(ending))
    stage.publish(storage=storage, regions=regions)
    assert len(storage.met) == 2
    for region in regions:
        assert len(stage.published(region)) == 1
        stage.check_agreement(region)


def test_many_regions_are_served_in_their_order(stage: Publishing) -> None:
    regions = [f"XA-{number}" for number in range(9)]
    for number, region in enumerate(regions):
        stage.collect([key_ending(NOON - 144, number)], regions=[region])
    outcome = stage.publish(regions=regions)
    assert [batch.region for batch in outcome.batches] == regions
    for number, region in enumerate(regions):
        assert stage.published(region) == {(number.to_bytes(16), False): 1}


def test_of_a_batch_whose_one_format_fails_nothing_is_recorded(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    storage = FailingStorage(
        stage.storage, lambda call, path: path.endswith(".compact") and "put" in call, OSError()
    )
    with pytest.raises(PublishingFailed):
        stage.publish(storage=storage)
    assert stage.batches()[0].manifest_sha256 is None
    stage.publish()
    stage.check_agreement()


def test_a_work_lets_go_only_when_none_of_its_jobs_runs_any_more() -> None:
    running: list[str] = []

    def slow() -> list[ManifestFile]:
        running.append("slow")
        threading.Event().wait(0.2)
        running.remove("slow")
        return []

    def failing() -> list[ManifestFile]:
        raise OSError

    def work() -> Work:
        try:
            yield [failing, slow]
        finally:
            assert not running

    failures = Failures(NoSession())  # type: ignore[arg-type]
    carry_out([("XA", work())], failures)
    assert "XA" in failures


@pytest.mark.parametrize("cores", [1, 2])
def test_what_ends_a_run_ends_all_works_and_their_jobs(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(cores)))
    ended: list[str] = []

    def work(region: str, jobs: Sequence[Job]) -> Work:
        try:
            yield jobs
            yield []
        finally:
            ended.append(region)

    def lost() -> list[ManifestFile]:
        raise LeaseLost("another has it")

    works = [("XA", work("XA", [lost])), ("XB", work("XB", [list])), ("XC", work("XC", []))]
    with pytest.raises(LeaseLost):
        carry_out(works, Failures(NoSession()))  # type: ignore[arg-type]
    assert sorted(ended) == ["XA", "XB", "XC"]


class NoSession:
    """Stands where a session is only ever rolled back."""

    def rollback(self) -> None:
        """Nothing to roll back."""
