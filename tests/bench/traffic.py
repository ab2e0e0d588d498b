"""Uploads as many phones send them, made beforehand, and a client so cheap that it measures the server.

One thread, plain sockets, connections kept open; of an answer it reads no more than its status and length.
"""

import base64
import json
import random
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from registry.protocol.certificate import VerificationCertificate, encode_certificate, read_jwt
from registry.signing.file_key import FileKey
from tests.app_of_old import AppOfOld, fresh_keys
from tests.running import Running

REQUEST_BYTES = 5000
"""What reference apps pad each request to."""
CERTIFICATE_LIFE_SECONDS = 3600
DAYS_AGO = 2
RECEIVE_BYTES = 1 << 16


class Issuer:
    """The running registry's own authority, signing certificates without being asked over HTTP."""

    def __init__(self, registry: Running) -> None:
        self.registry = registry
        header, self.claims = read_jwt(self._real_certificate())
        path = registry.folder / "keys" / "certificate" / f"{header['kid']}.pem"
        self.signer = FileKey.load(path, header["kid"], "1")

    def requests(self, count: int) -> list[bytes]:
        """`count` different uploads of 14 keys, each a whole HTTP request."""
        now = int(time.time())
        return [self._request(now) for _ in range(count)]

    def _request(self, now: int) -> bytes:
        app = self.registry.app()
        keys = fresh_keys(now - DAYS_AGO * 86_400)
        certificate = VerificationCertificate(
            issuer=self.claims["iss"],
            audience=self.claims["aud"],
            report_type="confirmed",
            tekmac=base64.b64encode(app.mac(keys)).decode(),
            symptom_onset_interval=(now // 86_400 - DAYS_AGO) * 144,
            issued_at=now,
            not_before=now,
            expires_at=now + CERTIFICATE_LIFE_SECONDS,
        )
        body = app.publish_body(encode_certificate(certificate, self.signer), keys)
        room = max(16, REQUEST_BYTES - len(json.dumps(body)))
        body["padding"] = base64.b64encode(random.randbytes(room * 3 // 4)).decode()
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1:{self.registry.port}\r\n"
            f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content

    def _real_certificate(self) -> str:
        """One got the ordinary way: it says what such certificates hold."""
        app: AppOfOld = self.registry.app()
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - DAYS_AGO * 86_400))
        issued = app.post(
            "/api/issue",
            {"testType": "confirmed", "testDate": day, "symptomDate": day},
            self.registry.first_run["admin_api_key"],
            pad=False,
        )
        verified = app.verify(issued.body["code"])
        return str(app.certify(verified.body["token"], fresh_keys(time.time())).body["certificate"])


@dataclass
class Connection:
    """A socket with a request under way."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def answer_is_whole(self) -> bool:
        """Whether head and body have come. Raises RuntimeError unless the answer is a 200."""
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        head = bytes(self.received[:head_end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self.received) < head_end + 4 + length:
            return False
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"an upload was refused: {bytes(self.received[:600])!r}")
        return True


def send_all(port: int, requests: Sequence[bytes], connections: int) -> float:
    """Send every request, one at a time on each of so many connections. Answered requests a second.

    Raises RuntimeError if one is not answered by 200, or a connection is closed.
    """
    waiting: Iterator[bytes] = iter(requests)
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for request in (next(waiting) for _ in range(min(connections, len(requests)))):
            opened = socket.create_connection(("127.0.0.1", port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.sendall(request)
            selector.register(opened, selectors.EVENT_READ, Connection(opened))
        while selector.get_map():
            for chosen, _ in selector.select():
                _take(chosen.data, selector, waiting)
        return len(requests) / (time.perf_counter() - began)


def _take(connection: Connection, selector: selectors.BaseSelector, waiting: Iterator[bytes]) -> None:
    """Read what came; after a whole answer send the next request, or close."""
    content = connection.socket.recv(RECEIVE_BYTES)
    if not content:
        raise RuntimeError("the registry closed a connection")
    connection.received += content
    if not connection.answer_is_whole():
        return
    connection.received.clear()
    request = next(waiting, None)
    if request is None:
        selector.unregister(connection.socket)
        connection.socket.close()
    else:
        connection.socket.sendall(request)
