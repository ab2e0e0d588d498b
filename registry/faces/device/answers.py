"""Answers to phones: JSON of one size, whatever they say.

Success, refusal, fault and chaff carry random padding and are filled up, the head by a header that says
nothing and the body with JSON's own white space, until each has one size. An observer of encrypted traffic
sees the sum, and where head and body leave one after the other, each of them: neither tells answers apart.
Nothing here may let an answer out without it.
"""

import json
import math
import secrets
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Response

from registry.errors import RefusalCode
from registry.protocol.encoding import encode_base64

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

ANSWER_SIZE = 4352
"""Bytes of every answer as the application hands it to the server: status line, headers, body."""
BODY_ROOM = 4096
"""Bytes of it that members and padding may take; the rest is more than any status line and headers do."""
HEAD_SIZE = ANSWER_SIZE - BODY_ROOM
FILL_HEADER = "X-Fill"
LEAST_PADDING_BYTES = 1024
MOST_PADDING_BYTES = 2047
"""The reference servers' range: clients and their tests may look for it."""

STATUS_OF = {
    RefusalCode.CODE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    RefusalCode.CODE_USER_UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    RefusalCode.UUID_ALREADY_EXISTS: HTTPStatus.CONFLICT,
    RefusalCode.QUOTA_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID: HTTPStatus.UNAUTHORIZED,
    RefusalCode.CERTIFICATE_INVALID: HTTPStatus.UNAUTHORIZED,
    RefusalCode.MAINTENANCE_MODE: HTTPStatus.TOO_MANY_REQUESTS,
    RefusalCode.HEALTH_AUTHORITY_MISSING_REGION_CONFIG: HTTPStatus.INTERNAL_SERVER_ERROR,
    RefusalCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""HTTP status of a refusal; 400 for every code that is not here."""

STATUS_AT = {("verify", RefusalCode.UNSUPPORTED_TEST_TYPE): HTTPStatus.PRECONDITION_FAILED}
"""Where one endpoint has its own status for a code."""


def status_of(code: RefusalCode, endpoint: str | None) -> HTTPStatus:
    """The status that a refusal leaves with."""
    return STATUS_AT.get((endpoint or "", code)) or STATUS_OF.get(code, HTTPStatus.BAD_REQUEST)


class EvenAnswer(Response):
    """Fills its head and its body up as it leaves: its status and headers are final then."""

    def get_wsgi_response(
        self, environ: "WSGIEnvironment"
    ) -> tuple[Iterable[bytes], str, list[tuple[str, str]]]:
        """Body, status and headers in HTTP/1.1 (RFC 9112): a head of `HEAD_SIZE` bytes, without the empty
        line, and with the body a multiple of `ANSWER_SIZE`."""
        self.headers.pop(FILL_HEADER, None)
        room = HEAD_SIZE - self._head_size(environ) - len(f"{FILL_HEADER}: \r\n")
        if room >= 0:
            self.headers[FILL_HEADER] = "." * room
        content = self.get_data()
        # The length of `Content-Length` itself stays: bodies have four digits before and after.
        self.set_data(content + b" " * (-(self._head_size(environ) + len(content)) % ANSWER_SIZE))
        return super().get_wsgi_response(environ)

    def _head_size(self, environ: "WSGIEnvironment") -> int:
        headers = self.get_wsgi_headers(environ).to_wsgi_list()
        lines = sum(len(f"{name}: {value}\r\n") for name, value in headers)
        return len(f"HTTP/1.1 {self.status}\r\n") + lines


def say_when(answer: Response, again_at: str) -> None:
    """From when on the same call may be granted (an HTTP date): by the standard's name, and by the one that
    existing apps read."""
    answer.headers["Retry-After"] = answer.headers["X-Retry-After"] = again_at


def padded(members: Mapping[str, object], status: int = 200) -> Response:
    """`members` and `padding` as JSON, in an answer of exactly `ANSWER_SIZE` bytes.

    The padding is base64 of 1,024 to 2,047 random bytes, or fewer at the upper end where `members` leave no
    more room. Members that are too long for any padding make the answer a multiple of the size.
    """
    bare = len(_encode({**members, "padding": ""}))
    least = len(encode_base64(bytes(LEAST_PADDING_BYTES)))
    room = math.ceil((bare + least) / BODY_ROOM) * BODY_ROOM
    most = min(MOST_PADDING_BYTES, (room - bare) // 4 * 3)
    noise = secrets.token_bytes(LEAST_PADDING_BYTES + secrets.randbelow(most - LEAST_PADDING_BYTES + 1))
    body = _encode({**members, "padding": encode_base64(noise)})
    response = EvenAnswer(body, status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def plain(members: Mapping[str, object], status: int = 200) -> Response:
    """JSON without padding, for what is no phone's secret: probes and public keys."""
    return Response(_encode(members), status=status, content_type="application/json")


def _encode(members: Mapping[str, object]) -> bytes:
    # ASCII only, so that characters are bytes and the size can be told beforehand.
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode("ascii")
