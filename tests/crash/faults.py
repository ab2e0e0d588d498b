"""Spoils call after call of a storage and a database: not done, or done but reported as failed.

The process that made the call lives on and tidies up, or is dead from then on. `spoil_calls` goes through the
calls of a run, one a run: in `make soak` every single one, in the suite a sample of each kind of call.
"""

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any, BinaryIO, TypeVar

import psycopg
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from registry.errors import PublishingFailed
from registry.models import open_database
from registry.storage import Storage

STEP = int(os.environ.get("REGISTRY_SOAK_STEP", "60"))
"""Of each kind of call, every so many is spoilt, and one at the least. 1: every single call."""

STORING = frozenset({"put_new", "put_new_file", "replace", "read", "names"})
"""Kinds of storage calls that a publish makes. (Only retirement deletes.)"""
DATABASE = frozenset(
    {"BEGIN", "SELECT", "INSERT", "INSERT many", "UPDATE", "UPDATE many", "DELETE", "commit"}
)
"""Kinds of database calls that a publish makes on SQLite. "many": one call for several rows."""
ON_POSTGRESQL = DATABASE - {"BEGIN"} | {"COPY", "LOCK", "CREATE", "ALTER"}
"""The driver begins transactions by itself there, keys are read by COPY, and each day's lie in a table."""

T = TypeVar("T")


class Failed(Exception):
    """A call that went wrong; the process goes on."""


class Dead(BaseException):
    """The process ended here: nothing that it would still have done happens."""


class Faults:
    """Spoils call number `at` (from 1) of a kind: before it is done, or after if `done`. If `dead`, all later
    ones too. `at` 0 spoils nothing.

    Calls may come from several threads.
    """

    def __init__(self, kind: str = "", at: int = 0, *, done: bool = False, dead: bool = False) -> None:
        self.kind = kind
        self.at = at
        self.done = done
        self.calls = Counter[str]()
        """How many there were, by kind."""
        self.met = False
        self.fault: type[BaseException] = Dead if dead else Failed
        self._counting = threading.Lock()

    def call(self, kind: str, act: Callable[[], T]) -> T:
        with self._counting:
            over = self.met and self.fault is Dead
            self.calls[kind] += 1
            mine = kind == self.kind and self.calls[kind] == self.at
            self.met = self.met or mine
        if over or (mine and not self.done):
            self.strike()
        result = act()
        if mine:
            self.strike()
        return result

    def strike(self) -> None:
        """What becomes of the process, or of the call."""
        raise self.fault


class FaultyStorage:
    def __init__(self, storage: Storage, faults: Faults) -> None:
        self._storage = storage
        self._faults = faults

    def put_new(self, path: str, content: bytes) -> bool:
        return self._faults.call("put_new", lambda: self._storage.put_new(path, content))

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        return self._faults.call("put_new_file", lambda: self._storage.put_new_file(path, source))

    def replace(self, path: str, content: bytes) -> None:
        self._faults.call("replace", lambda: self._storage.replace(path, content))

    def read(self, path: str) -> bytes | None:
        return self._faults.call("read", lambda: self._storage.read(path))

    def open_file(self, path: str) -> BinaryIO | None:
        return self._faults.call("open_file", lambda: self._storage.open_file(path))

    def delete(self, path: str) -> None:
        self._faults.call("delete", lambda: self._storage.delete(path))

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        return self._faults.call("names", lambda: self._storage.names(prefix, deep=deep))


class FaultyDatabase:
    """Sessions whose every statement, COPY and commit passes through `faults`. A rollback always succeeds: it
    is what a database does with the transaction of a connection that is gone.
    """

    def __init__(self, engine: Engine) -> None:
        self.faults = Faults()
        self._engine = engine
        self._connections: list[Any] = []

        @event.listens_for(engine, "connect")
        def _connected(connection: Any, _record: object) -> None:
            self._connections.append(connection)
            if isinstance(connection, psycopg.Connection):
                connection.cursor_factory = self._copying_cursor()

        @event.listens_for(engine, "do_execute")
        def _execute(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
            kind = statement.split(maxsplit=1)[0]
            # SQLite's BEGIN is a statement to it, but cannot be done and yet fail.
            if kind == "BEGIN":
                self.faults.call(kind, lambda: None)
                cursor.execute(statement, parameters)
            else:
                self.faults.call(kind, lambda: cursor.execute(statement, parameters))
            return True

        @event.listens_for(engine, "do_executemany")
        def _execute_many(cursor: Any, statement: str, parameters: Any, _context: object) -> bool:
            kind = f"{statement.split(maxsplit=1)[0]} many"
            self.faults.call(kind, lambda: cursor.executemany(statement, parameters))
            return True

    def _copying_cursor(self) -> type[psycopg.Cursor[Any]]:
        """The driver's own cursor, but for COPY, which no event of SQLAlchemy's tells of.

        A COPY that is done and fails has begun, and is broken off before its first row.
        """
        database = self

        class CopyingCursor(psycopg.Cursor[Any]):
            @contextmanager
            def copy(self, *arguments: Any, **more: Any) -> Iterator[psycopg.Copy]:
                begin = super().copy
                with ExitStack() as stack:
                    yield database.faults.call("COPY", lambda: stack.enter_context(begin(*arguments, **more)))

        return CopyingCursor

    def new_session(self, faults: Faults) -> Session:
        self.faults = faults

        class FaultySession(Session):
            def commit(self) -> None:
                faults.call("commit", super().commit)

        return FaultySession(self._engine)

    def cut(self) -> None:
        """Close every connection, as the end of a process does, whatever still refers to it here."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._engine.dispose()
        # SQLite lets go of its lock only when the last cursor is gone, and a traceback may still hold one.
        gc.collect()


@contextmanager
def faulty_database(url: str) -> Iterator[FaultyDatabase]:
    """That on this database, for a test."""
    engine = open_database(url)
    # What there is by now stays, and need not be looked through at each end of a process: half of the time.
    gc.freeze()
    try:
        yield FaultyDatabase(engine)
    finally:
        gc.unfreeze()
        engine.dispose()


def spoil_calls(
    run: Callable[[Faults], object],
    prepare: Callable[[int], None],
    mend: Callable[[], None],
    *,
    way: float,
    done: bool,
    dead: bool,
) -> tuple[Counter[str], int]:
    """Prepare, run with a fault at a call, mend; the same with another call, kind by kind.

    Of each kind every `STEP`th call, up to as many as any of the runs made, and one at the least. `way`, from
    0 to less than 1, says where in the first `STEP` to begin, so that other ways spoil other calls. Returns
    how many calls of each kind were spoilt, and how many runs there were.
    """
    runs = count(1)
    calls, met = Counter[str](), Counter[str]()

    def once(faults: Faults) -> bool:
        prepare(next(runs))
        try:
            run(faults)
        except (Failed, Dead, PublishingFailed):
            assert faults.met
        mend()
        calls.update(faults.calls - calls)
        return faults.met

    # Only the second finds a past: keys to revise and to recall, a day to make a file of.
    once(Faults())
    calls.clear()
    once(Faults())
    through = set[str]()
    while left := calls.keys() - through:
        kind = min(left)
        through.add(kind)
        at = 1 + int(way * min(STEP, calls[kind]))
        while at <= calls[kind]:
            if once(Faults(kind, at, done=done, dead=dead)):
                met[kind] += 1
            elif not met[kind] and at > 1:
                at //= 2  # not every run makes as many
                continue
            at += STEP
    return met, next(runs) - 1
