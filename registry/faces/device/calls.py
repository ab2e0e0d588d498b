"""A call as it arrives: its body, whether it is chaff, and its members once they have been checked.

A body is read before anything is said about it: a client that is cut off while it still sends sees a broken
connection instead of an answer. Nothing of what is read here may be logged.
"""

from collections.abc import Mapping
from contextlib import suppress
from secrets import token_bytes
from typing import Any, cast

from flask import Response, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from registry.errors import Malformed, Refusal, RefusalCode
from registry.faces.device.answers import padded
from registry.models import CollectingChaff, IssuingChaff, transaction
from registry.protocol.encoding import decode_json_object

BODY_LIMIT = 64_000
"""Bytes that a body may have (the field's figure)."""
DRAIN_LIMIT = 4_000_000
"""Bytes of a body that is too large which are read, and forgotten, before it is refused."""
NOISE_BYTES = 2048
"""What chaff writes: about what a token or a few keys and their answer take."""

_CHUNK = 65_536
_MESSAGE_LENGTH = 300


def receive_body(fault: RefusalCode) -> bytes:
    """The whole body. Refuses with `fault` one that breaks off or whose chunks cannot be told apart.

    Raises RequestEntityTooLarge, after reading on, if it is over the limit.
    """
    kept = bytearray()
    received = 0
    try:
        while received <= DRAIN_LIMIT and (chunk := request.stream.read(_CHUNK)):
            received += len(chunk)
            if received <= BODY_LIMIT:
                kept += chunk
    except (OSError, ParseException, ClientDisconnected) as error:
        # What the server raises from a stream that is the client's, not ours: NoMoreData, InvalidChunkSize...
        raise Refusal(fault, "the body broke off, or is not chunked as it was said to be") from error
    if received > BODY_LIMIT:
        raise RequestEntityTooLarge(f"a body may have {BODY_LIMIT} bytes")
    if request.content_length is not None and received < request.content_length:
        raise Refusal(fault, "the body is shorter than it was said to be")
    return bytes(kept)


def is_json() -> bool:
    """Whether the call says that its body is JSON, with or without a character set."""
    return (request.content_type or "").lower().startswith("application/json")


def is_chaff() -> bool:
    """Whether the call only imitates one, so that real ones do not stand out."""
    return bool(request.headers.get("X-Chaff"))


def members_of(body: bytes, schema: Schema, fault: RefusalCode) -> dict[str, Any]:
    """The body's members, by the names of `schema`'s attributes. Refuses with `fault`, naming the member."""
    try:
        members = decode_json_object(body, "the body").as_dict()
    except Malformed as error:
        raise Refusal(fault, str(error)) from error
    return checked(members, schema, fault)


def checked(members: object, schema: Schema, fault: RefusalCode) -> dict[str, Any]:
    """What `members_of` gives, of JSON that has been decoded already."""
    try:
        found: dict[str, Any] = schema.load(cast("Mapping[str, Any]", members))  # it says so if it is none
    except ValidationError as error:
        raise Refusal(fault, f"wrong type or value: {error.messages}"[:_MESSAGE_LENGTH]) from error
    return found


def answer_chaff(
    session: Session, body: bytes, schema: Schema, table: type[IssuingChaff] | type[CollectingChaff]
) -> Response:
    """Do the work of a real call, as far as an observer could tell, and say nothing."""
    # Chaff is read like a real call; existing servers answered it whatever it held, so its faults are none.
    with suppress(Refusal):
        members_of(body, schema, RefusalCode.BAD_REQUEST)
    with transaction(session):
        session.add(table(noise=token_bytes(NOISE_BYTES)))
    return padded({})
