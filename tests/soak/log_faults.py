"""Campaigns of faults in a publish: at every file system call, around every commit and witness call."""

from functools import partial

from tests import system_tools
from tests.crash.log_faults import Fault, Stage, staged_on, staged_on_sqlite
from tests.crash.strace import Unwatchable
from tests.postgres import PostgresServer
from tests.soak.campaigns import Campaign, Found, Slice

SLICES = 10
INJECTIONS = 250
"""A slice. There are some 2,150, in the order of the calls."""
KILLS = 40
"""There are some 34 points."""


def _syscalls(piece: Slice) -> Found:
    strace = system_tools.find("strace")
    if strace is None:
        return Found(0, ["strace is not installed"])
    with staged_on_sqlite(piece.folder) as stage:
        try:
            faults = stage.syscall_faults(strace)
        except Unwatchable as error:
            return Found(0, [f"strace may not watch processes here: {error}"])
        if len(faults) > SLICES * piece.size:
            return Found(0, [f"{len(faults)} injections are more than there are slices for"])
        # A round's seeds follow each other, so that each part is one slice's.
        first = piece.seed % SLICES * piece.size
        return _play(stage, faults[first : first + piece.size], strace)


def _kills(backend: str, piece: Slice) -> Found:
    server = PostgresServer.prepare()
    try:
        with staged_on(backend, piece.folder, partial(_started, server)) as stage:
            faults = stage.kill_faults()
            if len(faults) > piece.size:
                return Found(0, [f"{len(faults)} points are more than {piece.size}"])
            return _play(stage, faults)
    finally:
        server.stop()


def _started(server: PostgresServer) -> PostgresServer:
    server.start()
    return server


def _play(stage: Stage, faults: list[Fault], strace: str = "") -> Found:
    played = [stage.play(fault, strace) for fault in faults]
    failures = [str(one) for one in played if one.wrong]
    missed = sum(not one.met for one in played)
    if missed * 20 > len(played):
        failures.append(f"{missed} of {len(played)} faults were not run into")
    return Found(len(played) - missed, failures)


CAMPAIGNS = (
    Campaign("log_syscalls", "injections", SLICES, INJECTIONS, _syscalls),
    *(
        Campaign(f"log_kills_{backend}", "kills", 1, KILLS, partial(_kills, backend))
        for backend in ("sqlite", "postgresql")
    ),
)
