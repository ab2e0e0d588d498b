"""Answers to phones: JSON of one size, whatever they say.

Success, refusal, fault and chaff carry random padding and are filled up with JSON's own white space, so that
an observer of encrypted traffic cannot tell them apart. Nothing here may let an answer out without it.
"""

import json
import math
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from flask import Response

from registry.errors import RefusalCode
from registry.protocol.encoding import encode_base64

ANSWER_SIZE = 4096
"""Bytes of every body."""
LEAST_PADDING_BYTES = 1024
MOST_PADDING_BYTES = 2047
"""The reference servers' range: clients and their tests may look for it."""

STATUS_OF = {
    RefusalCode.CODE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    RefusalCode.CODE_USER_UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    RefusalCode.UUID_ALREADY_EXISTS: HTTPStatus.CONFLICT,
    RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID: HTTPStatus.UNAUTHORIZED,
    RefusalCode.CERTIFICATE_INVALID: HTTPStatus.UNAUTHORIZED,
    RefusalCode.HEALTH_AUTHORITY_MISSING_REGION_CONFIG: HTTPStatus.INTERNAL_SERVER_ERROR,
    RefusalCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""HTTP status of a refusal; 400 for every code that is not here."""

STATUS_AT = {("verify", RefusalCode.UNSUPPORTED_TEST_TYPE): HTTPStatus.PRECONDITION_FAILED}
"""Where one endpoint has its own status for a code."""


def status_of(code: RefusalCode, endpoint: str | None) -> HTTPStatus:
    """The status that a refusal leaves with."""
    return STATUS_AT.get((endpoint or "", code)) or STATUS_OF.get(code, HTTPStatus.BAD_REQUEST)


def padded(members: Mapping[str, object], status: int = 200) -> Response:
    """`members` and `padding` as JSON of exactly `ANSWER_SIZE` bytes.

    The padding is base64 of 1,024 to 2,047 random bytes, or fewer at the upper end where `members` leave no
    more room. Members that are too long for any padding make the body a multiple of the size.
    """
    bare = len(_encode({**members, "padding": ""}))
    least = len(encode_base64(bytes(LEAST_PADDING_BYTES)))
    size = math.ceil((bare + least) / ANSWER_SIZE) * ANSWER_SIZE
    most = min(MOST_PADDING_BYTES, (size - bare) // 4 * 3)
    noise = secrets.token_bytes(LEAST_PADDING_BYTES + secrets.randbelow(most - LEAST_PADDING_BYTES + 1))
    body = _encode({**members, "padding": encode_base64(noise)}).ljust(size, b" ")
    response = Response(body, status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def plain(members: Mapping[str, object], status: int = 200) -> Response:
    """JSON without padding, for what is no phone's secret: probes and public keys."""
    return Response(_encode(members), status=status, content_type="application/json")


def _encode(members: Mapping[str, object]) -> bytes:
    # ASCII only, so that characters are bytes and the size can be told beforehand.
    return json.dumps(members, separators=(",", ":"), allow_nan=False).encode("ascii")
