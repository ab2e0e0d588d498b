"""A fault at every single call that publishing and retiring make of storage and database.

Each call is once not done, and once done but reported as failed; the process is dead from that call on, or
lives on and tidies up. Whatever it was, the next run mends it. The suite spoils every fifth call, another
fifth in each way; `make soak` spoils all.
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
from tests.crash.faults import STEP, Dead, Failed, Faults, FaultyDatabase, FaultyStorage, spoil_calls
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
    engine = open_database(collecting_url)
    yield FaultyDatabase(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("done", "dead"),
    [(False, True), (True, True), (False, False), (True, False)],
    ids=["killed-before", "killed-after", "failed-before", "failed-after"],
)
def test_publishing_mends_a_fault_at_any_call(
    stage: Publishing, faulty: FaultyDatabase, done: bool, dead: bool
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
                return faults.call(lambda: witnesses.send(url, body))
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

    calls, runs = spoil_calls(run, story.prepare, mend, done=done, dead=dead)
    story.end(runs)
    assert runs > calls // STEP > 200 // STEP, "there are many, and every fifth was spoilt"
    assert len(story.onlooker.log.years()) > 1


@pytest.mark.parametrize("done", [False, True], ids=["killed-before", "killed-after"])
def test_retiring_mends_a_fault_at_any_call(stage: Publishing, faulty: FaultyDatabase, done: bool) -> None:
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

    calls, runs = spoil_calls(run, prepare, mend, done=done, dead=True)
    assert runs > calls // STEP > 15 // STEP
