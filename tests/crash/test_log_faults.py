"""A publish that is spoilt at any file system call, commit or witness call leaves one log, whole and sound.

Samples of what `make soak` plays in full (`tests/soak/log_faults.py`). Right after the fault a phone polls,
an app of old reads and a recheck runs; then the next ordinary run publishes what was due, and all of it is
looked at again: one root a size, no leaf moved, each key once, every rule of the auditors.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests import system_tools
from tests.crash.log_faults import (
    EIO,
    KILL,
    Fault,
    Played,
    staged_on,
    staged_on_sqlite,
)
from tests.crash.log_verdict import Verdict
from tests.crash.strace import Unwatchable
from tests.postgres import PostgresServer

OF_EACH_KIND = 8
KILLS = 12


def spread(faults: Sequence[Fault], count: int) -> list[Fault]:
    """`count` of them, or all, from the first to the last at equal distances."""
    step = max(1.0, (len(faults) - 1) / max(1, count - 1))
    return [faults[round(number * step)] for number in range(min(count, len(faults)))]


def found_wrong(played: Sequence[Played]) -> list[str]:
    return [str(one) for one in played if one.wrong]


def test_an_error_or_a_kill_at_a_file_system_call(tmp_path: Path, system_tool: Callable[[str], str]) -> None:
    strace = system_tool("strace")
    with staged_on_sqlite(tmp_path) as stage:
        try:
            faults = stage.syscall_faults(strace)
        except Unwatchable as error:
            (pytest.fail if system_tools.required() else pytest.skip)(f"strace may not watch here: {error}")
        kinds: dict[tuple[str, bool], list[Fault]] = defaultdict(list)
        for fault in faults:
            kinds[fault.what, fault.goes_on].append(fault)
        assert set(kinds) == {(EIO, False), (EIO, True), (KILL, False)}
        played = [stage.play(one, strace) for kind in kinds.values() for one in spread(kind, OF_EACH_KIND)]
    assert found_wrong(played) == []
    assert sum(one.met for one in played) >= len(played) - 2
    assert len(faults) > 1_000, "a publish makes hundreds of calls, and each is spoilt somehow"


def test_a_kill_around_a_commit_or_witness_call(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def server() -> PostgresServer:
        found: PostgresServer = request.getfixturevalue("postgres_server")
        return found

    with staged_on(backend, tmp_path, server) as stage:
        faults = stage.kill_faults()
        calls = {fault.what.partition(" ")[2] for fault in faults}
        assert calls == {"collecting commit", "issuing commit", "witness call"}
        # By sides apart, for a step of two would meet only one of them.
        sides = [faults[::2], faults[1::2]]
        played = [stage.play(fault) for side in sides for fault in spread(side, KILLS // 2)]
    assert found_wrong(played) == []
    assert all(one.met for one in played)


def test_the_verdict_tells_what_must_not_be(tmp_path: Path) -> None:
    """A damaged tile, a lost export file, keys that are not out: each is seen by who would see it."""
    with staged_on_sqlite(tmp_path) as stage, stage.copied() as place:
        verdict = Verdict(stage.prepared, place)
        verdict.right_after()
        assert verdict.wrong == []
        verdict.mended()
        assert any("has not grown" in wrong for wrong in verdict.wrong)
        assert any("to be published once each" in wrong for wrong in verdict.wrong)

        verdict.wrong.clear()
        (tile,) = (place.settings.public_dir / "log").glob("*/tile/0/000.p/" + str(stage.prepared.size))
        tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
        verdict.right_after()
        assert any(wrong.startswith("recheck: ") for wrong in verdict.wrong)

        verdict.wrong.clear()
        listed = (place.settings.public_dir / "exposures" / "XB" / "index.txt").read_text().split()
        (place.settings.public_dir / "exposures" / listed[-1]).unlink()
        verdict.right_after()
        assert any("is not there" in wrong for wrong in verdict.wrong)
