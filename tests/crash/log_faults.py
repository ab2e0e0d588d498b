"""Every way to spoil one publish, and what it comes to.

An error in place of each file system call; a kill before each that changes anything; a kill on both sides of
each commit and of each call to a witness. `Stage.play` plays one of them, to its verdict.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from sqlalchemy import MetaData, make_url

from tests.clock import NOON_OF_JUNE_15
from tests.crash.log_verdict import Verdict
from tests.crash.prepared import Place, Prepared, prepare_place
from tests.crash.publishing_process import LATER_SECONDS, PublishingProcess, Server, attempt, close
from tests.crash.strace import Call, Strace, calls_in, was_injected
from tests.postgres import PostgresServer

CHANGING = (
    *("openat", "mkdir", "rename", "link", "unlink", "rmdir", "ftruncate", "fallocate", "fchmod"),
    *("write", "pwrite64", "fsync", "fdatasync", "flock"),
)
"""Before any other call a kill leaves what it leaves before the next of these."""
EIO = "error=EIO"
KILL = "signal=SIGKILL"

Urls = tuple[str, str]
"""Of the issuing and of the collecting database."""
CopyDatabases = Callable[[Place, Path], AbstractContextManager[Urls]]
"""Copies of a place's databases, gone after the block, for a copy of its folder."""


@dataclass(frozen=True)
class Fault:
    """One way to spoil a publish: a call to strace, or the number of a point at which the process kills
    itself. `goes_on`: the process that met an error is the one that runs again, as the publisher's loop
    does; else it has ended, and another one runs.
    """

    what: str
    call: Call | None = None
    kill_at: int = 0
    goes_on: bool = False

    def __str__(self) -> str:
        if self.call is None:
            return f"killed at point {self.kill_at}, {self.what}"
        on = ", and the process goes on" if self.goes_on else ""
        return f"{self.what} at {self.call.name} number {self.call.number}{on}: {self.call.line}"


@dataclass(frozen=True)
class Played:
    """What came of a fault. `met`: the process ran into it. `error`: what the spoilt run raised, if it lived.
    `wrong`: everything that must not be.
    """

    fault: Fault
    met: bool
    error: str | None
    wrong: Sequence[str]

    def __str__(self) -> str:
        return "\n  ".join([str(self.fault), *self.wrong])


@dataclass(frozen=True)
class Stage:
    """A prepared registry, and the server whose processes publish in copies of it, one at a time."""

    prepared: Prepared
    server: Server
    folder: Path
    copy_databases: CopyDatabases

    def syscall_faults(self, strace: str) -> list[Fault]:
        """Every fault at a call that reaches the registry's folder, in the order of the calls."""
        output = self.folder / "calls"
        with self.copied() as place:
            with self.server.process(place) as process:
                watch = Strace.listing(strace, process.pid, output)
                assert process.publish().error is None
            lines = watch.lines()
        calls = calls_in(lines, place.folder)
        # Once it has told how the run went, a process that goes on does not close its databases.
        told = next(at for at, line in enumerate(lines) if line.startswith("write(") and "<pipe:" in line)
        in_run = set(calls_in(lines[:told], place.folder))
        faults = []
        for call in calls:
            faults.append(Fault(EIO, call))
            if call.name in CHANGING:
                if call in in_run:
                    faults.append(Fault(EIO, call, goes_on=True))
                faults.append(Fault(KILL, call))
        return faults

    def kill_faults(self) -> list[Fault]:
        """A kill at every point around commits and witness calls, in the order of the points."""
        with self.copied() as place, self.server.process(place) as process:
            points = process.publish().points
        return [Fault(name, kill_at=number) for number, name in enumerate(points, start=1)]

    def play(self, fault: Fault, strace: str = "") -> Played:
        """Spoil a publish in a fresh copy, look, let the next run mend it, and look again."""
        with self.copied() as place:
            verdict = Verdict(self.prepared, place)
            with self.server.process(place, kill_at=fault.kill_at) as process:
                watch = None
                if fault.call is not None:
                    output = self.folder / "injected"
                    watch = Strace.injecting(strace, process.pid, output, fault.call, fault.what)
                ended = process.publish()
                if fault.goes_on:
                    self._mend(verdict, process)
            # Perhaps only when the process closed its databases.
            met = ended.killed or (watch is not None and was_injected(watch.lines()))
            if not fault.goes_on:
                self._mend(verdict)
        return Played(fault, met, ended.error, verdict.wrong)

    def _mend(self, verdict: Verdict, process: PublishingProcess | None = None) -> None:
        verdict.right_after()
        verdict.place = replace(verdict.place, now=verdict.place.now + LATER_SECONDS)
        if process is not None:
            error = process.publish().error
        else:
            made = verdict.place.publisher()
            error = attempt(made)
            close(made)
        if error is not None:
            verdict.wrong.append(f"the next run: {error}")
        verdict.mended()

    @contextmanager
    def copied(self) -> Iterator[Place]:
        """A copy of the prepared place, gone after the block."""
        folder = self.folder / "run"
        shutil.copytree(self.prepared.place.folder, folder)
        try:
            with self.copy_databases(self.prepared.place, folder) as (issuing, collecting):
                yield Place(folder, issuing, collecting, self.prepared.place.now)
        finally:
            shutil.rmtree(folder)


# ------------------------------------------------------------ the stage on either database


@contextmanager
def staged_on(backend: str, folder: Path, postgres: Callable[[], PostgresServer]) -> Iterator[Stage]:
    """A stage on that kind of database; `postgres` gives the running server, and is asked only for that."""
    chosen = staged_on_sqlite(folder) if backend == "sqlite" else staged_on_postgresql(folder, postgres())
    with chosen as stage:
        yield stage


@contextmanager
def staged_on_sqlite(folder: Path) -> Iterator[Stage]:
    """A stage whose databases are files, so that strace sees all there is."""
    prepared = prepare_place(Place.on_sqlite(folder / "prepared", NOON_OF_JUNE_15))

    def beside(_place: Place, copy: Path) -> AbstractContextManager[Urls]:
        there = Place.on_sqlite(copy, 0)
        return nullcontext((there.issuing_url, there.collecting_url))

    with _staged(prepared, folder, beside) as stage:
        yield stage


@contextmanager
def staged_on_postgresql(folder: Path, postgres: PostgresServer) -> Iterator[Stage]:
    """A stage whose databases are copied by their server."""

    @contextmanager
    def in_server(place: Place, _copy: Path) -> Iterator[Urls]:
        with ExitStack() as databases:
            issuing, collecting = (
                databases.enter_context(postgres.fresh(make_url(url).database or ""))
                for url in (place.issuing_url, place.collecting_url)
            )
            yield issuing, collecting

    empty = postgres.template(MetaData(), "empty")
    with postgres.fresh(empty) as issuing, postgres.fresh(empty) as collecting:
        prepared = prepare_place(Place(folder / "prepared", issuing, collecting, NOON_OF_JUNE_15))
        _disconnect_all(postgres, issuing, collecting)
        with _staged(prepared, folder, in_server) as stage:
            yield stage


def _disconnect_all(postgres: PostgresServer, *urls: str) -> None:
    """A database that somebody is connected to cannot be copied, and web faces never disconnect."""
    address = postgres.administration_url.set(drivername="postgresql").render_as_string(hide_password=False)
    names = [make_url(url).database for url in urls]
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = ANY(%s)", [names]
        )


@contextmanager
def _staged(prepared: Prepared, folder: Path, copy_databases: CopyDatabases) -> Iterator[Stage]:
    scratch = folder / "scratch"
    shutil.copytree(prepared.place.folder, scratch)
    with copy_databases(prepared.place, scratch) as (issuing, collecting):
        place = Place(scratch, issuing, collecting, prepared.place.now)
        with Server(place, folder / "run.log") as server:
            yield Stage(prepared, server, folder, copy_databases)
