"""After a 200 the keys survive power loss: they are on their way to the disk before the answer leaves.

Watched from outside, by strace on the web server's processes. What the disk does with the request is its own.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.app_of_old import fresh_keys
from tests.running import Running

TWO_DAYS = 2 * 86_400


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "var", REGISTRY_ANSWER_HOLD_MILLISECONDS="0").start()
    yield running
    running.stop()


class Watch:
    """strace on every web process, writing to a file."""

    def __init__(self, strace: str, registry: Running, output: Path) -> None:
        pids = [pid for pid, command in registry.descendants().items() if "gunicorn" in command]
        calls = "trace=fsync,fdatasync,sendto,sendmsg,write"
        command = [strace, "-f", "-y", "-s", "64", "-e", calls, "-o", str(output)]
        command += [word for pid in pids for word in ("-p", str(pid))]
        self.output = output
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for _ in pids:  # one line a process, once it is watched
            said = self.process.stderr.readline()
            if "ttached" not in said:
                self.process.kill()
                pytest.skip(f"strace may not watch processes here: {said.strip()}")

    def lines(self) -> list[str]:
        """Stop watching; the calls in their order."""
        self.process.terminate()
        self.process.wait(30)
        return self.output.read_text().splitlines()


def test_keys_are_synced_before_the_answer_leaves(
    registry: Running, tmp_path: Path, system_tool: Callable[[str], str]
) -> None:
    strace = system_tool("strace")
    app, keys = registry.app(), fresh_keys(time.time() - TWO_DAYS)
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - TWO_DAYS))
    issue = {"testType": "confirmed", "testDate": day}
    code = app.post("/api/issue", issue, registry.first_run["admin_api_key"]).body["code"]
    certificate = app.certify(app.verify(code).body["token"], keys).body["certificate"]

    watch = Watch(strace, registry, tmp_path / "calls")
    assert app.post("/v1/publish", app.publish_body(certificate, keys)).status == 200
    calls = watch.lines()

    synced = [n for n, call in enumerate(calls) if re.search(r"f(data)?sync\(.*collecting\.sqlite", call)]
    answered = [n for n, call in enumerate(calls) if '"HTTP/1.1 200 OK' in call]
    assert len(answered) == 1, calls
    assert synced, calls
    assert min(synced) < answered[0], "the answer left before the keys were on their way to the disk"
