"""Base64 as phones send it, and JSON as we write and read it.

Base64 comes in two alphabets, with or without `=` and line ends; JSON objects arrive from strangers. Both
are read strictly otherwise: one value has one spelling per alphabet, an object no repeated member, and
whatever is wrong is `Malformed`, never a ValueError or a RecursionError of a library.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from registry.errors import Malformed

_URL_TO_STANDARD = str.maketrans("-_", "+/")
_NO_LINE_ENDS = str.maketrans("", "", "\r\n")


def encode_base64(content: bytes) -> str:
    """Standard alphabet with padding (RFC 4648 §4)."""
    return base64.b64encode(content).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Reads the standard or the URL alphabet (not a mixture), with all of its `=` or none of them.

    Line ends (CR, LF) are passed over wherever they stand, as the decoder of existing servers does: some
    phones' encoders break lines. Raises Malformed for anything else: other characters, other white space, a
    wrong length, stray bits after the last byte. (RFC 4648 §3.5; existing key servers read these four forms.)
    """
    text = text.translate(_NO_LINE_ENDS)
    if ("+" in text or "/" in text) and ("-" in text or "_" in text):
        raise Malformed("base64 mixes the standard and the URL alphabet")
    standard = text.translate(_URL_TO_STANDARD)
    bare = standard.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if standard not in (bare, padded):
        raise Malformed("base64 has a wrong number of '=' at its end")
    try:
        content = base64.b64decode(padded, validate=True)
    except ValueError as error:
        raise Malformed("not base64") from error
    if encode_base64(content) != padded:
        raise Malformed("base64 carries stray bits after its last byte")
    return content


def encode_base64url(content: bytes) -> str:
    """URL alphabet without padding, the form of JOSE (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Reads only what `encode_base64url` writes, so that a signed text has one spelling. Raises Malformed."""
    if any(other in text for other in "=+/\r\n"):
        raise Malformed("not unpadded base64url")
    return decode_base64(text)


def encode_json(members: Mapping[str, object]) -> bytes:
    """UTF-8, members sorted by name, no white space: the same object is always the same bytes."""
    return json.dumps(
        members, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _refuse_constant(constant: str) -> NoReturn:
    raise Malformed(f"JSON has no number {constant}")


def _is_text(value: object) -> bool:
    """JSON's escapes can spell half a surrogate pair, which no UTF-8 can hold: that is no text."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= c <= "\udfff" for c in value)


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("JSON object names a member twice")
    return members


class JsonObject:
    """An object read from JSON whose members are asked for by name and type.

    Every accessor raises Malformed when the member is missing or of another type; `where` names the
    document in the message.
    """

    def __init__(self, members: Mapping[str, Any], where: str) -> None:
        self._members = members
        self._where = where

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def as_dict(self) -> dict[str, Any]:
        """The members as they were read, unchecked."""
        return dict(self._members)

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value = self._members.get(name)
        if not _is_text(value):
            raise Malformed(f"{self._where}: '{name}' must be a string that is not empty")
        return str(value)

    def integer(self, name: str, *, least: int = 0, most: int = 2**53 - 1) -> int:
        """A whole number in [least, most]; true, false and fractions are not numbers here."""
        value = self._members.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Malformed(f"{self._where}: '{name}' must be a whole number from {least} to {most}")
        return value

    def integers(self, name: str) -> dict[str, int]:
        """An object all of whose members are whole numbers, none below 0."""
        inner = self.child(name)
        return {member: inner.integer(member) for member in inner.as_dict()}

    def child(self, name: str) -> "JsonObject":
        """An object inside this one."""
        value = self._members.get(name)
        if not isinstance(value, dict):
            raise Malformed(f"{self._where}: '{name}' must be an object")
        return JsonObject(value, f"{self._where}.{name}")

    def children(self, name: str) -> list["JsonObject"]:
        """A list of objects, perhaps empty."""
        values = self._list(name)
        if not all(isinstance(value, dict) for value in values):
            raise Malformed(f"{self._where}: '{name}' must hold objects only")
        return [JsonObject(value, f"{self._where}.{name}[{i}]") for i, value in enumerate(values)]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings, perhaps empty."""
        values = self._list(name)
        if not all(_is_text(value) for value in values):
            raise Malformed(f"{self._where}: '{name}' must hold strings only, none of them empty")
        return tuple(values)

    def _list(self, name: str) -> list[Any]:
        value = self._members.get(name)
        if not isinstance(value, list):
            raise Malformed(f"{self._where}: '{name}' must be a list")
        return value


def decode_json_object(content: bytes, where: str) -> JsonObject:
    """Reads one JSON object in UTF-8 (RFC 8259). Raises Malformed, also for nesting too deep to read."""
    try:
        members = json.loads(
            content.decode(), object_pairs_hook=_refuse_repetition, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{where} is not JSON") from error
    if not isinstance(members, dict):
        raise Malformed(f"{where} is not a JSON object")
    return JsonObject(members, where)
