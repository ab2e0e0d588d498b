"""Spoils call after call of a storage and a database: not done, or done but reported as failed.

The process that made the call lives on and tidies up, or is dead from then on. `spoil_calls` goes through the
calls of a run, one a run: every fifth in the suite, every single one in `make soak`.
"""

import gc
import os
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from registry.errors import PublishingFailed
from registry.storage import Storage

STEP = int(os.environ.get("REGISTRY_SOAK_STEP", "5"))
T = TypeVar("T")


class Failed(Exception):
    """A call that went wrong; the process goes on."""


class Dead(BaseException):
    """The process ended here: nothing that it would still have done happens."""


class Faults:
    """Spoils call number `at`: before it is done, or after if `done`. If `dead`, all later ones too.

    Calls may come from several threads.
    """

    def __init__(self, at: int, *, done: bool, dead: bool) -> None:
        self.at = at
        self.done = done
        self.calls = 0
        self.fault: type[BaseException] = Dead if dead else Failed
        self._counting = threading.Lock()

    @property
    def met(self) -> bool:
        return self.calls >= self.at

    def call(self, act: Callable[[], T]) -> T:
        with self._counting:
            self.calls += 1
            number = self.calls
        mine = number == self.at
        if (mine and not self.done) or (number > self.at and self.fault is Dead):
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


def spoil_calls(
    run: Callable[[Faults], object], prepare: Callable[[int], None], mend: Callable[[], None], **how: bool
) -> tuple[int, int]:
    """Prepare, run with a fault at a call, mend; the same with a later call, until a run has none left.

    `how` goes to `Faults`. Returns how many calls a run makes, and how many runs there were.
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
