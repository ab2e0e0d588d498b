"""A list of logs for a witness to accept (C2SP tlog-list, "logs/v0"), as lists of the witness network are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.note import KeyKind, VerifierKey, decode_vkey

HEADER = "logs/v0"
MAX_LIST_BYTES = 4_000_000

_LOG_KINDS = (KeyKind.ED25519, KeyKind.ML_DSA_44)
_QUERIES = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class ListedLog:
    """A log by its origin line, with the key that signs it.

    `queries_per_day` is how many requests it may make, `contact` how people reach its operator.
    """

    origin: str
    key: VerifierKey
    queries_per_day: int
    contact: str


def decode_log_list(content: bytes) -> list[ListedLog]:
    """The logs of a list, in its order. Raises Malformed and names the line.

    1. The first line that is neither empty nor a comment is the header.
    2. Each log is `vkey`, perhaps `origin`, then `qpd` and `contact`, in this order.
    3. A key's type is one that logs sign with; no two logs share an origin.
    """
    if len(content) > MAX_LIST_BYTES:
        raise Malformed(f"a log list has at most {MAX_LIST_BYTES} bytes")
    try:
        lines = _lines(content.decode())
    except UnicodeDecodeError as error:
        raise Malformed("the log list is not UTF-8") from error
    if next(lines, (0, ""))[1] != HEADER:
        raise Malformed(f"a log list begins with the line {HEADER}")
    logs: list[ListedLog] = []
    for number, line in lines:
        try:
            logs.append(_read_log(line, lines))
        except Malformed as error:
            raise Malformed(f"log list, the log at line {number}: {error}") from error
    origins = [log.origin for log in logs]
    if len(set(origins)) != len(origins):
        raise Malformed("the log list has an origin twice")
    return logs


def is_log_list(content: bytes) -> bool:
    """Whether the content claims to be a log list: its first line that says anything is the header."""
    return next(_lines(content.decode("utf-8", "replace")), (0, ""))[1] == HEADER


def check_log_key(key: VerifierKey) -> None:
    """Raises Malformed unless logs sign checkpoints with keys of this type."""
    if key.kind not in _LOG_KINDS:
        raise Malformed(f"a key of type {key.kind} is not a log's: types 1 and 6 are")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" \t")
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _read_log(first: str, lines: Iterator[tuple[int, str]]) -> ListedLog:
    key = decode_vkey(_value(first, "vkey"))
    check_log_key(key)
    line = next(lines, (0, ""))[1]
    origin = key.name
    if line.startswith("origin"):
        origin = _value(line, "origin")
        line = next(lines, (0, ""))[1]
    queries = _value(line, "qpd")
    if not _QUERIES.fullmatch(queries) or int(queries) >= 2**31:
        raise Malformed("qpd is a number from 1 below 2^31, without leading zeros")
    contact = _value(next(lines, (0, ""))[1], "contact")
    return ListedLog(origin, key, int(queries), contact)


def _value(line: str, name: str) -> str:
    found, _, value = line.partition(" ")
    value = value.strip(" \t")
    if found != name or not value:
        raise Malformed(f"the next line must be: {name}, a space, its value")
    return value
