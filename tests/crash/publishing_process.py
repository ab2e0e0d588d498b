"""Publishes once in a prepared folder, in a process of its own that may be watched, spoilt and killed.

`python -m tests.crash.publishing_process SCRATCH` publishes in the place SCRATCH (JSON) to have everything
loaded, and then forks a child for each line that it reads, so that a child does nothing but publish. `Server`
is the other end of that.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from registry.publisher import Publisher
from registry.transparency.witnesses import SendToWitness, WitnessAnswer
from tests.clock import FakeClock
from tests.crash.prepared import Place

PR_SET_PTRACER = 0x59616D61  # prctl(2), Yama
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)
ORDER = "publish"
LATER_SECONDS = 60
"""Until a process that goes on runs again."""


@dataclass
class Points:
    """The points at which a process can be killed: on both sides of every commit and witness call.

    Counted from 1; at number `kill_at` the process kills itself.
    """

    kill_at: int
    names: list[str]

    def reach(self, name: str) -> None:
        """One more point is reached."""
        self.names.append(name)
        if len(self.names) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str, act: Callable[[], Any]) -> Any:
        """Do it, between two points."""
        self.reach(f"before {name}")
        result = act()
        self.reach(f"after {name}")
        return result

    def sender(self, send: SendToWitness) -> SendToWitness:
        """`send` between two points. Its thread is alone: the publisher waits for the answer."""

        def send_between(url: str, body: bytes) -> WitnessAnswer:
            answer: WitnessAnswer = self.around("witness call", lambda: send(url, body))
            return answer

        return send_between

    def watch(self, made: Publisher) -> None:
        """Let every commit of both databases pass between two points."""
        for half, engine in (("issuing", made.issuing_engine), ("collecting", made.collecting_engine)):
            commit = engine.dialect.do_commit

            def commit_between(connection: Any, half: str = half, commit: Any = commit) -> None:
                self.around(f"{half} commit", lambda: commit(connection))

            engine.dialect.do_commit = commit_between  # type: ignore[method-assign]


def attempt(made: Publisher) -> str | None:
    """One run of the publisher; the error that it met, or why it is not through all the same."""
    try:
        outcome = made.publish()
    except Exception as error:  # whatever it is, the verdict is about what it left behind
        return f"{type(error).__name__}: {error}"
    return f"{outcome}" if outcome.busy or outcome.unwitnessed or outcome.failed_open else None


def close(made: Publisher) -> None:
    """Close the databases, as the end of its process does."""
    made.issuing_engine.dispose()
    made.collecting_engine.dispose()


# ------------------------------------------------------------ the program


def main() -> None:
    """Serve until the input ends."""
    made = _place(json.loads(sys.argv[1])).publisher()
    made.publish()
    close(made)
    print("ready", flush=True)
    while line := sys.stdin.readline():
        asked = json.loads(line)
        orders_out, orders_in = os.pipe()
        told_out, told_in = os.pipe()
        child = os.fork()
        if not child:
            os.close(orders_in)  # else it would never see the end of its orders
            _be_child(asked, orders_out, told_in)
        os.close(orders_out)
        os.close(told_in)
        with os.fdopen(told_out) as told, os.fdopen(orders_in, "w") as orders:
            told.readline()  # ready
            print(child, flush=True)
            # What the child says, or nothing once it is dead, and then what it is to do.
            while order := sys.stdin.readline().strip():
                with suppress(BrokenPipeError):
                    print(order, file=orders, flush=True)
                print(told.readline().strip(), flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)


def _be_child(asked: dict[str, Any], orders: int, told: int) -> None:
    """Publish for every order, tell, and end without whatever a program does at its end."""
    if sys.platform == "linux":
        # Where only ancestors may trace, this lets strace, which is none.
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
    # On one core all files are made in the main thread, which is the one that is watched and spoilt.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    points = Points(asked["kill_at"], [])
    clock = FakeClock(asked["now"])
    made = _place(asked).publisher(clock=clock, around_witness=points.sender)
    points.watch(made)
    os.write(told, b"ready\n")
    while os.read(orders, len(ORDER) + 1):
        error = attempt(made)
        os.write(told, json.dumps({"error": error, "points": points.names}).encode() + b"\n")
        clock.advance(LATER_SECONDS)
    close(made)
    os._exit(0)


def _place(asked: dict[str, Any]) -> Place:
    return Place(Path(asked["folder"]), asked["issuing_url"], asked["collecting_url"], asked["now"])


# ------------------------------------------------------------ the other end


@dataclass(frozen=True)
class Attempt:
    """How one run in a publishing process ended: with an error, or well, at these points. None are known of
    one that was killed.
    """

    killed: bool
    error: str | None = None
    points: tuple[str, ...] = ()


class Server:
    """The program above, running. Use as a context manager; one publishing process at a time."""

    def __init__(self, scratch: Place, log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.publishing_process", json.dumps(_asked(scratch))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=Path(__file__).parents[2],
        )
        if self._line() != "ready":
            raise AssertionError(log.read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    @contextmanager
    def process(self, place: Place, *, kill_at: int = 0) -> Iterator["PublishingProcess"]:
        """A new process that may publish in `place`, and kills itself at point `kill_at`; gone after."""
        self._say(json.dumps({**_asked(place), "kill_at": kill_at}))
        try:
            yield PublishingProcess(int(self._line()), self._order)
        finally:
            self._say("")
            assert self._line() == "gone"

    def _order(self) -> Attempt:
        self._say(ORDER)
        said = self._line()
        if not said:
            return Attempt(killed=True)
        told = json.loads(said)
        return Attempt(killed=False, error=told["error"], points=tuple(told["points"]))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


@dataclass(frozen=True)
class PublishingProcess:
    """A process that waits. Each `publish` is a run, the second one `LATER_SECONDS` after the first."""

    pid: int
    publish: Callable[[], Attempt]


def _asked(place: Place) -> dict[str, Any]:
    return {
        "folder": str(place.folder),
        "issuing_url": place.issuing_url,
        "collecting_url": place.collecting_url,
        "now": place.now,
    }


if __name__ == "__main__":
    main()
