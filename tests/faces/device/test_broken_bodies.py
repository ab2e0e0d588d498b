"""Bodies that break off, or whose chunks cannot be told apart: the client's fault in the contract's words.

With streams that raise as the web server's do, and through the web server itself.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    ChunkMissingTerminator,
    InvalidChunkExtension,
    InvalidChunkSize,
    NoMoreData,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.faces.device.answers import ANSWER_SIZE
from registry.models import CollectingChaff
from tests.authority import ADMIN_KEY, DEVICE_KEY
from tests.faces.device.conftest import size_of
from tests.running import Running

ISSUING = {
    "/api/verify": "unparsable_request",
    "/api/certificate": "token_invalid",
    "/api/issue": "unparsable_request",
    "/api/checkcodestatus": "unparsable_request",
    "/api/expirecode": "unparsable_request",
}
CODES = {**ISSUING, "/v1/publish": "bad_request", "/v1/withdraw": "bad_request"}


class Broken:
    """A body of which a part arrives, and then an error as the web server raises it."""

    def __init__(self, error: Exception | None, part: bytes = b'{"code": "1"') -> None:
        self.error, self.part = error, part

    def read(self, _size: int = -1) -> bytes:
        """The part, then the error; or the end, if there is none."""
        part, self.part = self.part, b""
        if not part and self.error is not None:
            raise self.error
        return part


def post(app: Flask, path: str, body: Broken, **more: str) -> tuple[int, str]:
    """Status and code of a call with this body."""
    key = ADMIN_KEY if path in ("/api/issue", "/api/checkcodestatus", "/api/expirecode") else DEVICE_KEY
    answer = app.test_client().post(
        path,
        content_type="application/json",
        headers={"X-API-Key": key},
        environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True, **more},
    )
    assert size_of(answer) == ANSWER_SIZE
    assert answer.json is not None
    return answer.status_code, answer.json.get("errorCode", answer.json.get("code"))


@pytest.mark.parametrize(
    "error",
    [
        InvalidChunkSize(b"zz"),
        InvalidChunkExtension("bare CR not allowed"),
        ChunkMissingTerminator(b"xx"),
        NoMoreData(),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_a_stream_that_fails_is_a_bad_request(
    issuing_app: Flask, collecting_app: Flask, error: Exception
) -> None:
    for path, code in CODES.items():
        app = issuing_app if path in ISSUING else collecting_app
        chunked = {"HTTP_TRANSFER_ENCODING": "chunked"}
        assert post(app, path, Broken(error), **chunked) == (400, code), path


def test_a_body_shorter_than_it_was_said_to_be_is_not_the_whole_one(
    issuing_app: Flask, collecting_app: Flask
) -> None:
    for path, code in CODES.items():
        app = issuing_app if path in ISSUING else collecting_app
        assert post(app, path, Broken(None, b"{}"), CONTENT_LENGTH="3") == (400, code), path
    whole = post(collecting_app, "/v1/publish", Broken(None, b"{}"), CONTENT_LENGTH="2")
    assert whole == (401, "unknown_health_authority_id")


def test_chaff_that_breaks_off_writes_nothing(collecting_app: Flask, collecting_session: Session) -> None:
    assert post(
        collecting_app,
        "/v1/publish",
        Broken(NoMoreData()),
        HTTP_X_CHAFF="1",
        HTTP_TRANSFER_ENCODING="chunked",
    ) == (400, "bad_request")
    assert collecting_session.scalar(select(func.count()).select_from(CollectingChaff)) == 0


# ---------------------------------------------------------------- through the web server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A registry as its user starts it."""
    folder: Path = tmp_path_factory.mktemp("broken") / "var"
    registry = Running(folder).start()
    yield registry
    registry.stop()


def exchange(running: Running, path: str, head: dict[str, str], rest: bytes, method: str = "POST") -> bytes:
    """Everything that comes back for these bytes, after which this side says no more."""
    kind = "admin" if path in ("/api/issue", "/api/checkcodestatus", "/api/expirecode") else "device"
    fields = {
        "Host": "registry",
        "Connection": "close",
        "Content-Type": "application/json",
        "X-API-Key": running.first_run[f"{kind}_api_key"],
        **head,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + rest)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return answer


def read(answer: bytes) -> tuple[int, dict[str, Any]]:
    """Status and members."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2\r\n{}\r\n",
        b"9\r\n{}",
        b"",
    ],
)
def test_chunks_that_the_web_server_cannot_read(running: Running, chunks: bytes) -> None:
    for path, code in CODES.items():
        status, members = read(exchange(running, path, {"Transfer-Encoding": "chunked"}, chunks))
        assert (status, members.get("errorCode", members.get("code"))) == (400, code), path
    assert "unexpected fault" not in running.log_path.read_text()


def test_a_client_that_falls_silent_in_the_middle(running: Running) -> None:
    for path, code in CODES.items():
        status, members = read(exchange(running, path, {"Content-Length": "500"}, b"{}"))
        assert (status, members.get("errorCode", members.get("code"))) == (400, code), path


def test_on_the_wire_every_outcome_is_as_long_as_every_other(running: Running) -> None:
    def asked(path: str, body: bytes, method: str = "POST", **head: str) -> bytes:
        fields = {name.replace("_", "-"): value for name, value in head.items()}
        return exchange(running, path, {"Content-Length": str(len(body)), **fields}, body, method)

    for path in ("/api/verify", "/api/certificate", "/v1/publish", "/v1/withdraw"):
        answers = [
            asked(path, b"{}", X_Chaff="1"),
            asked(path, b"{}"),
            asked(path, b"{}", X_API_Key="nobody's"),
            asked(path, b"not json"),
            asked(path, b"{}", Content_Type="text/plain"),
            asked(path, b"x" * 64_001),
            asked(path, b"", "PUT"),
            asked(path + "/", b"{}"),
        ]
        assert len({read(answer)[0] for answer in answers}) >= 5
        assert len({len(answer) for answer in answers}) == 1, path
