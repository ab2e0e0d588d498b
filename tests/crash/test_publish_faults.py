"""A fault at every single call that publishing and retiring make of storage and database.

Each call is once not done, and once done but reported as failed; the process is dead from that call on, or
lives on and tidies up. Whatever it was, the next run mends it. The suite spoils a sample: of each kind of
call every sixtieth and one at the least, others in each way and on each database; `make soak` spoils all.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from registry.errors import FetchFailed
from registry.lifecycle.publish import PublicationPolicy, publish_due
from registry.lifecycle.retire import retire_collecting
from registry.models import Batch, DiagnosisKey, ExportFile, open_database
from registry.protocol.index import EXPOSURES
from registry.protocol.intervals import interval_at
from registry.storage.local import LocalStorage
from registry.transparency.witnesses import WitnessAnswer
from tests.clock import FakeClock
from tests.crash.faults import (
    DATABASE,
    ON_POSTGRESQL,
    STEP,
    STORING,
    Dead,
    Failed,
    Faults,
    FaultyDatabase,
    FaultyStorage,
    faulty_database,
    spoil_calls,
)
from tests.crash.publish_story import POLICY, REGIONS, Story
from tests.publishing import DAY, HOUR, Publishing, key_ending
from tests.transparency.witness_of_tests import Witnesses

RETIRED = PublicationPolicy(window_seconds=HOUR, keys_per_file=4)


@pytest.fixture
def stage(collecting_url: str, tmp_path: Path, clock: FakeClock) -> Iterator[Publishing]:
    engine = open_database(collecting_url)
    yield Publishing(engine, LocalStorage(tmp_path / "public"), clock)
    engine.dispose()


@pytest.fixture
def faulty(collecting_url: str) -> Iterator[FaultyDatabase]:
    with faulty_database(collecting_url) as database:
        yield database


def way_of(backend: str, *, done: bool, dead: bool) -> float:
    """Each way and each database spoils other calls."""
    return (done + 2 * dead + 4 * (backend == "postgresql")) / 8


@pytest.mark.parametrize(
    ("done", "dead"),
    [(False, True), (True, True), (False, False), (True, False)],
    ids=["killed-before", "killed-after", "failed-before", "failed-after"],
)
def test_publishing_mends_a_fault_at_any_call(
    stage: Publishing, faulty: FaultyDatabase, backend: str, done: bool, dead: bool
) -> None:
    """Every checkpoint needs a witness, whose calls are spoilt too; a second checkpoint of one size would be
    refused by it.
    """
    witnesses = Witnesses(stage.clock, "one", quorum=1)
    stage.log = replace(stage.log, **witnesses.settings())
    story = Story(stage)

    def run(faults: Faults) -> object:
        def send(url: str, body: bytes) -> WitnessAnswer:
            try:
                return faults.call("witness", lambda: witnesses.send(url, body))
            except (Failed, Dead) as fault:
                # A thread of a process that has ended: the next call of any other ends it too.
                raise FetchFailed("no answer") from fault

        return publish_due(
            lambda: faulty.new_session(faults),
            FaultyStorage(stage.storage, faults),
            stage.signers,
            regions=REGIONS,
            policy=POLICY,
            profile="demo",
            log=replace(stage.log, send=send),
            now=stage.clock(),
            holder="first",
        )

    def mend() -> None:
        faulty.cut()
        story.mend()

    way = way_of(backend, done=done, dead=dead)
    spoilt, runs = spoil_calls(run, story.prepare, mend, way=way, done=done, dead=dead)
    story.end(runs)
    kinds = STORING | (ON_POSTGRESQL if backend == "postgresql" else DATABASE) | {"witness"}
    assert set(spoilt) >= kinds
    assert spoilt.total() > 200 // STEP
    assert len(story.onlooker.log.years()) > 1


@pytest.mark.parametrize("done", [False, True], ids=["killed-before", "killed-after"])
def test_retiring_mends_a_fault_at_any_call(
    stage: Publishing, faulty: FaultyDatabase, backend: str, done: bool
) -> None:
    def prepare(at: int) -> None:
        stage.collect([key_ending(interval_at(stage.clock()) - 12, at)])
        stage.publish(policy=RETIRED)
        stage.clock.advance(22 * DAY)

    def run(faults: Faults) -> object:
        storage = FaultyStorage(stage.storage, faults)
        return retire_collecting(
            lambda: faulty.new_session(faults),
            storage,
            policy=RETIRED,
            log=stage.log,
            now=stage.clock(),
            holder="retire",
        )

    def mend() -> None:
        faulty.cut()
        for file in (file for window in stage.index().windows for file in window.files):
            assert stage.storage.read(f"{EXPOSURES}/{file.path}") is not None, "listed and gone"
        stage.clock.advance(RETIRED.lease_seconds)
        stage.retire(policy=RETIRED)
        stage.check_agreement()
        with stage.new_session() as session:
            for model in (DiagnosisKey, ExportFile):
                assert session.scalar(select(func.count()).select_from(model)) == 0
            assert session.scalar(select(func.count()).select_from(Batch)) == 1, "the one that others follow"
        assert not [name for name in stage.storage.names("") if name.endswith(".zip")]

    way = way_of(backend, done=done, dead=True)
    spoilt, _ = spoil_calls(run, prepare, mend, way=way, done=done, dead=True)
    assert set(spoilt) >= {"SELECT", "DELETE", "UPDATE", "commit", "delete"}
    assert spoilt.total() > 100 // STEP
