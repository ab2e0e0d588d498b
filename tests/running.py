"""A registry as its user starts it: `registry run` in processes of its own, spoken to over HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.app_of_old import AppOfOld

PATIENCE_SECONDS = 60.0
TICK_SECONDS = 0.05


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Running:
    """`registry run` in `folder`; started, spoken to, killed and stopped by the test."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log_path = folder.with_name(folder.name + ".log")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")},
            "REGISTRY_PORT": str(self.port),
            "REGISTRY_DATA_DIR": str(folder),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Running":
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "registry.cli", "run"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_until(self.is_healthy)
        return self

    def is_healthy(self) -> bool:
        """Whether /healthz answers 200 now."""
        assert self.process is not None
        assert self.process.poll() is None, self.log_path.read_text()[-2000:]
        try:
            return self.call("GET", "/healthz", {}, b"")[0] == 200
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal to the one process that the user knows; its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def descendants(self) -> dict[int, str]:
        """Process id → command line of every process below the supervisor."""
        assert self.process is not None
        found: dict[int, str] = {}
        waiting = [self.process.pid]
        while waiting:
            parent = waiting.pop()
            for child in _children(parent):
                found[child] = command_line(child)
                waiting.append(child)
        return found

    def wait_until(self, condition: Any, patience: float = PATIENCE_SECONDS) -> None:
        """Poll `condition` until it is true; fails with the log's end."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, self.log_path.read_text()[-3000:]
            time.sleep(TICK_SECONDS)

    @property
    def first_run(self) -> dict[str, str]:
        """What first-run.json holds."""
        found: dict[str, str] = json.loads((self.folder / "first-run.json").read_text())
        return found

    def call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One HTTP exchange on a connection of its own. Raises OSError when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body or None, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def app(self) -> AppOfOld:
        """A new phone."""
        return AppOfOld(self.call, self.first_run["device_api_key"], self.first_run["health_authority_id"])

    def get(self, path: str) -> bytes:
        """A public file."""
        status, _, body = self.call("GET", path, {}, b"")
        assert status == 200, (path, status)
        return body

    def file_names(self) -> list[str]:
        """What index.txt lists."""
        return self.get("/exposures/XA/index.txt").decode().split()


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_line(pid: int) -> str:
    """A process's command line; empty for a zombie and for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
