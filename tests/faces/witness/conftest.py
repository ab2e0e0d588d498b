"""The witness as strangers meet it: a real server on a real socket, and nothing but bytes."""

import http.client
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from registry.faces.witness import WitnessFace, create_witness_app
from registry.protocol.note import verifier_key
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from tests.clock import FakeClock
from tests.protocol.note_signers import ml_dsa_signer, witness_signer
from tests.witness.shown_log import ShownLog

NAME = "witness.example/w1"


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002  # its parent's name
        pass


@dataclass(frozen=True)
class Served:
    """An application on a port of this machine."""

    url: str
    port: int

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Mapping[str, str], bytes]:
        """One exchange on a connection of its own; header names in lower case."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def submit(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        return self.call("POST", "/witness/add-checkpoint", body)


def serve(app: Flask) -> Iterator[Served]:
    """`app` on a free port while the generator is open."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{server.server_port}/witness", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def time_of_day() -> FakeClock:
    return FakeClock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "witness.sqlite"


@pytest.fixture
def log() -> ShownLog:
    """A log of 20 leaves."""
    return ShownLog(20)


@pytest.fixture
def behind(state: Path, log: ShownLog) -> Witness:
    """The witness behind the face; knows `log` by its Ed25519 key."""
    signers = (witness_signer(NAME), ml_dsa_signer(NAME))
    witness = begin_witness(state, NAME, has_keys=False, make_keys=lambda: signers)
    witness.add_log(verifier_key(log.signers[0]))
    return witness


@pytest.fixture
def face(behind: Witness, time_of_day: FakeClock) -> Iterator[Served]:
    yield from serve(create_witness_app(WitnessFace(lambda: behind, time_of_day)))
