"""A fault at every single call that publishing and retiring make of storage and database.

Each call is once not done, and once done but reported as failed; the process is dead from that call on, or
lives on and tidies up. Whatever it was, the next run mends it. The suite spoils every fifth call, another
fifth in each way; `make soak` spoils all.
"""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import count, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.orm import Session

from registry.errors import FetchFailed, PublishingFailed
from registry.lifecycle.publish import PublicationPolicy, publish_due
from registry.lifecycle.retire import retire_collecting
from registry.models import Batch, BatchShelf, DiagnosisKey, ExportFile, open_database
from registry.protocol.export_file import read_zip
from registry.protocol.index import EXPOSURES, legacy_index_path
from registry.protocol.intervals import interval_at
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.storage import Storage
from registry.storage.local import LocalStorage
from registry.transparency.witnesses import WitnessAnswer
from tests.clock import FakeClock
from tests.publishing import DAY, HOUR, REGION, Published, Publishing, key_ending
from tests.transparency.public_log import PublicLog
from tests.transparency.witness_of_tests import Witnesses

STEP = int(os.environ.get("REGISTRY_SOAK_STEP", "5"))
POLICY = PublicationPolicy(window_seconds=HOUR, keys_per_file=4)
T = TypeVar("T")


class Failed(Exception):
    """A call that went wrong; the process goes on."""


class Dead(BaseException):
    """The process ended here: nothing that it would still have done happens."""


class Faults:
    """Spoils call number `at`: before it is done, or after if `done`. If `dead`, all later ones too."""

    def __init__(self, at: int, *, done: bool, dead: bool) -> None:
        self.at = at
        self.done = done
        self.calls = 0
        self.fault: type[BaseException] = Dead if dead else Failed

    @property
    def met(self) -> bool:
        return self.calls >= self.at

    def call(self, act: Callable[[], T]) -> T:
        self.calls += 1
        mine = self.calls == self.at
        if (mine and not self.done) or (self.calls > self.at and self.fault is Dead):
            raise self.fault
        result = act()
        if mine:
            raise self.fault
        return result


class FaultyStorage:
    def __init__(self, storage: Storage, faults: Faults) -> None:
        self._storage = storage
        self._faults = faults

    def put_new(self, path: str, content: bytes) -> bool:
        return self._faults.call(lambda: self._storage.put_new(path, content))

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        return self._faults.call(lambda: self._storage.put_new_file(path, source))

    def replace(self, path: str, content: bytes) -> None:
        self._faults.call(lambda: self._storage.replace(path, content))

    def read(self, path: str) -> bytes | None:
        return self._faults.call(lambda: self._storage.read(path))

    def open_file(self, path: str) -> BinaryIO | None:
        return self._faults.call(lambda: self._storage.open_file(path))

    def delete(self, path: str) -> None:
        self._faults.call(lambda: self._storage.delete(path))

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        return self._faults.call(lambda: self._storage.names(prefix, deep=deep))


class FaultyDatabase:
    """Sessions whose every statement and commit passes through `faults`. A rollback always succeeds: it is
    what a database does with the transaction of a connection that is gone.
    """

    def __init__(self, engine: Engine) -> None:
        self.faults = Faults(0, done=False, dead=False)
        self._engine = engine
        self._connections: list[Any] = []

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: object) -> None:
            self._connections.append(connection)

        @event.listens_for(engine, "do_execute")
        def _execute(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
            # SQLite's BEGIN is a statement to it, but cannot be done and yet fail.
            if statement.startswith("BEGIN"):
                self.faults.call(lambda: None)
                cursor.execute(statement, parameters)
            else:
                self.faults.call(lambda: cursor.execute(statement, parameters))
            return True

    def new_session(self, faults: Faults) -> Session:
        self.faults = faults

        class FaultySession(Session):
            def commit(self) -> None:
                faults.call(super().commit)

        return FaultySession(self._engine)

    def cut(self) -> None:
        """Close every connection, as the end of a process does, whatever still refers to it here."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._engine.dispose()
        # SQLite lets go of its lock only when the last cursor is gone, and a traceback may still hold one.
        gc.collect()


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


def spoil_calls(
    run: Callable[[Faults], object], prepare: Callable[[int], None], mend: Callable[[], None], **how: bool
) -> tuple[int, int]:
    """Prepare, run with a fault at a call, mend; the same with a later call, until a run has none left.

    Returns how many calls a run makes, and how many runs there were.
    """
    first = 1 + (how["done"] + 2 * how["dead"]) % STEP
    for number, at in enumerate(count(first, STEP), start=1):
        prepare(number)
        faults = Faults(at, **how)
        try:
            run(faults)
        except (Failed, Dead, PublishingFailed):
            assert faults.met
        if not faults.met:
            return faults.calls, number
        mend()
    raise AssertionError


class Onlooker:
    """Sees every file that ever lies in public, and that none of them changes."""

    def __init__(self, stage: Publishing) -> None:
        self.stage = stage
        self.log = PublicLog(stage.storage, stage.log)
        self.digests: dict[str, str] = {}
        self.published: Published = Counter()

    def look(self) -> None:
        """As a phone does that polls right now: what index.txt names is there and verifies."""
        if self.stage.storage.read(legacy_index_path(REGION)) is not None:
            self.stage.files()
            self.log.check_phone(REGION)
        for name in self.stage.storage.names(EXPOSURES):
            if not name.endswith((".zip", ".compact")):
                continue
            content = self.stage.fetch(name)
            digest = sha256(content).hexdigest()
            if name not in self.digests and name.endswith(".zip") and "/daily/" not in name:
                file, _, _ = read_zip(content)
                self.published.update((key.key_data, False) for key in file.keys)
                self.published.update((key.key_data, True) for key in file.revised_keys)
            assert self.digests.setdefault(name, digest) == digest, f"{name} has changed"


@pytest.mark.parametrize(
    ("done", "dead"),
    [(False, True), (True, True), (True, False)],
    ids=["killed-before", "killed-after", "failed-after"],
)
def test_publishing_mends_a_fault_at_any_call(
    stage: Publishing, faulty: FaultyDatabase, done: bool, dead: bool
) -> None:
    """Each window brings six keys, in two files, and a revision of a key of the window before. Every
    checkpoint needs a witness, whose calls are spoilt too; a second checkpoint of one size would be refused
    by it. Files are retired as time goes by, only so that the test need not look at hundreds; years turn.
    """
    witnesses = Witnesses(stage.clock, "one", quorum=1)
    stage.log = replace(stage.log, **witnesses.settings())
    onlooker = Onlooker(stage)
    wanted: dict[tuple[bytes, bool], int] = {}
    before: list[TemporaryExposureKey] = []

    def prepare(at: int) -> None:
        stage.clock.advance(10 * DAY - stage.clock() % HOUR)
        if at % 6 == 0:
            stage.retire(policy=POLICY)
        end = interval_at(stage.clock()) - 12
        keys = [key_ending(end, 10 * at + number) for number in range(6)]
        stage.collect(keys)
        wanted.update({(key.key_data, False): 1 for key in keys})
        if at > 1:
            stage.revise(before[-1], ReportType.REVOKED)
            wanted[before[-1].key_data, True] = 1
        before.append(keys[0])

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
            regions=[REGION],
            policy=POLICY,
            profile="demo",
            log=replace(stage.log, send=send),
            now=stage.clock(),
            holder="first",
        )

    def mend() -> None:
        faulty.cut()
        onlooker.look()
        stage.clock.advance(POLICY.lease_seconds)
        stage.publish(policy=POLICY, holder="second")
        onlooker.look()

    calls, runs = spoil_calls(run, prepare, mend, done=done, dead=dead)
    onlooker.look()
    onlooker.log.check(REGION)
    stage.retire(policy=POLICY)
    # A file that has just left the index is kept for a day, for phones that hold the old index.
    stage.clock.advance(DAY)
    stage.retire(policy=POLICY)
    stage.check_agreement()
    assert runs > calls // STEP > 100 // STEP, "there are many, and every fifth was spoilt"
    assert len(onlooker.log.years()) > 1
    assert onlooker.published == wanted
    windows = stage.batches()
    assert windows[-1].sequence == runs
    assert all(before.window_end == after.window_start for before, after in pairwise(windows))


@pytest.mark.parametrize("done", [False, True], ids=["killed-before", "killed-after"])
def test_retiring_mends_a_fault_at_any_call(stage: Publishing, faulty: FaultyDatabase, done: bool) -> None:
    def prepare(at: int) -> None:
        stage.collect([key_ending(interval_at(stage.clock()) - 12, at)])
        stage.publish(policy=POLICY)
        stage.clock.advance(22 * DAY)

    def run(faults: Faults) -> object:
        storage = FaultyStorage(stage.storage, faults)
        return retire_collecting(
            lambda: faulty.new_session(faults),
            storage,
            policy=POLICY,
            log=stage.log,
            now=stage.clock(),
            holder="retire",
        )

    def mend() -> None:
        faulty.cut()
        for file in (file for window in stage.index().windows for file in window.files):
            assert stage.storage.read(f"{EXPOSURES}/{file.path}") is not None, "listed and gone"
        stage.clock.advance(POLICY.lease_seconds)
        stage.retire(policy=POLICY)
        stage.check_agreement()
        with stage.new_session() as session:
            for model in (DiagnosisKey, BatchShelf, ExportFile):
                assert session.scalar(select(func.count()).select_from(model)) == 0
            assert session.scalar(select(func.count()).select_from(Batch)) == 1
        assert not [name for name in stage.storage.names("") if name.endswith(".zip")]

    calls, runs = spoil_calls(run, prepare, mend, done=done, dead=True)
    assert runs > calls // STEP > 15 // STEP
