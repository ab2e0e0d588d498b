"""`registry witness serve` under fire: a log that forks bursts at it while it dies by SIGKILL, often.

What is watched: every cosignature that anybody was given. What is judged at the end: that they are of one
tree, and that the witness which comes back knows all of them.
"""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from registry.cli import main
from registry.protocol.checkpoint import cosignatures
from registry.protocol.note import Note, VerifierKey, decode_signatures, decode_vkey, verifier_key
from registry.protocol.witness_request import decode_size
from registry.witness.state import open_state
from tests.running import PATIENCE_SECONDS, TICK_SECONDS, command_line, free_port
from tests.witness.shown_log import ORIGIN, ShownLog

SIZE = 120
KILLS = 4
ANSWERS_A_LIFE = 15
"""A kill comes after so many cosignatures more: in the middle of whatever the others are at."""


class Running:
    """The witness as its operator starts it; killed and started again by the test."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log_path = folder / "witness.log"
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("REGISTRY_")},
            "REGISTRY_DATA_DIR": str(folder / "var"),
            "REGISTRY_PORT": str(self.port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "registry.cli", "witness", "serve"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, self.log_path.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log_path.read_text()[-2000:]
            time.sleep(TICK_SECONDS)

    def is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """Everything at once, as a machine dies."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)

    def kill_a_worker(self) -> None:
        """One of the processes that answer; the server starts another."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        workers = [int(pid) for pid in children if "gunicorn" in command_line(int(pid))]
        os.kill(workers[0], signal.SIGKILL)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Raises OSError when nobody answers, or not to the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()


class Burst:
    """Several at once push several trees of one log; every cosignature that came back is remembered."""

    def __init__(self, running: Running, keys: list[VerifierKey]) -> None:
        self.running = running
        self.keys = keys
        self.cosigned: list[tuple[ShownLog, int]] = []
        self.faults: list[str] = []
        self.changed = threading.Condition()

    def push(self, tree: ShownLog) -> None:
        """Grow it leaf by leaf, until it is whole or the witness holds another tree."""
        held = 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while held < SIZE and time.monotonic() < deadline:
            try:
                status, body = self.running.call(
                    "POST", "/witness/add-checkpoint", tree.request(held, held + 1)
                )
            except OSError:
                time.sleep(TICK_SECONDS)
                continue
            if status == 200:
                held += 1
                self._remember(tree, held, body)
            elif status == 409:
                held = decode_size(body)
            elif status == 422:
                return
            else:
                self.faults.append(f"{status} {body!r}")
        if held < SIZE:
            self.faults.append(f"stuck at {held}")

    def _remember(self, tree: ShownLog, size: int, body: bytes) -> None:
        note = Note(tree.note(size).text, decode_signatures(body.decode()))
        assert len(cosignatures(note, tree.head(size), self.keys)) == 2
        with self.changed:
            self.cosigned.append((tree, size))
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.cosigned) >= count, PATIENCE_SECONDS), self.faults


@pytest.fixture
def tree() -> ShownLog:
    return ShownLog(SIZE)


@pytest.fixture
def running(tmp_path: Path, tree: ShownLog) -> Iterator[Running]:
    """A witness that knows the log by its Ed25519 key."""
    found = Running(tmp_path)
    vkey = verifier_key(tree.signers[0]).vkey
    for words in (("init", "--name", "w.example/w1"), ("add-log", vkey)):
        done = CliRunner(env=found.environment).invoke(main, ["witness", *words])
        assert done.exit_code == 0, done.output
    found.start()
    yield found
    found.kill()


def test_no_kill_makes_the_witness_forget_or_fork(running: Running, tree: ShownLog) -> None:
    printed = CliRunner(env=running.environment).invoke(main, ["witness", "keys"]).output
    keys = [decode_vkey(line.split()[2]) for line in printed.splitlines() if line.startswith("witness ")]
    burst = Burst(running, keys)
    trees = [tree, tree, tree.forked(2, SIZE, "other"), tree.forked(50, SIZE, "late")]
    pushers = [threading.Thread(target=burst.push, args=(one,)) for one in trees]
    for pusher in pushers:
        pusher.start()
    for number in range(KILLS):
        burst.wait_for((number + 1) * ANSWERS_A_LIFE)
        if number % 2:
            running.kill_a_worker()
        else:
            running.kill()
            running.start()
    for pusher in pushers:
        pusher.join(2 * PATIENCE_SECONDS)
        assert not pusher.is_alive()

    assert burst.faults == []
    heads = [tree.head(size) for tree, size in burst.cosigned]
    roots = {head.size: {other.root for other in heads if other.size == head.size} for head in heads}
    assert {size: len(found) for size, found in roots.items() if len(found) > 1} == {}
    assert any(all(one.head(size).root in found for size, found in roots.items()) for one in trees)
    path = Path(running.environment["REGISTRY_DATA_DIR"]) / "witness.sqlite"
    with open_state(path) as connection:
        known = dict(connection.execute("SELECT size, root FROM cosigned WHERE origin = ?", (ORIGIN,)))
    assert {size: {known[size]} for size in roots} == roots
    assert max(known) == SIZE
