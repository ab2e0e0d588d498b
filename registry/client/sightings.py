"""Sightings: identifiers that other phones broadcast, as this phone received them.

Reads and writes them as CSV or JSON lines, so that a meeting can be carried from one phone to another by
file. Pure: text in, values out. A sighting keeps no place and no time finer than the minute, which is what
the rule against replays needs.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.client.failures import BadSightings
from registry.errors import Malformed
from registry.protocol.encoding import decode_json_object
from registry.protocol.identifiers import IDENTIFIER_BYTES, METADATA_BYTES

COLUMNS = ("time", "rpi", "aem", "rssi")
MINUTES_PER_INTERVAL = 10
CLOCK_TOLERANCE_SECONDS = 2 * 3600
"""How far two phones' clocks may differ (GAEN's matching window)."""
MAX_LINES = 1_000_000
MAX_NAMED_FAULTS = 20
"""A file of the wrong kind is wrong in every line: naming the first few is enough."""

_HEX = re.compile(r"[0-9A-Fa-f]*")
_NUMBER = re.compile(r"-?[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One scan's reception of one identifier.

    `rpi` is the rolling proximity identifier (16 bytes), `aem` its associated encrypted metadata (4 bytes,
    or of another length if the sender was faulty: such a sighting never matches), `minute` the Unix time in
    whole minutes, `rssi` the received power in dBm.
    """

    rpi: bytes
    aem: bytes
    minute: int
    rssi: int

    @property
    def interval(self) -> int:
        """The ten-minute interval of the scan."""
        return self.minute // MINUTES_PER_INTERVAL


def write_sightings(sightings: Iterable[Sighting], form: str) -> Iterator[str]:
    """Lines without their ends, in the form `csv` (with a heading) or `jsonl`."""
    if form == "csv":
        yield ",".join(COLUMNS)
    for sighting in sightings:
        time = datetime.fromtimestamp(sighting.minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = (time, sighting.rpi.hex(), sighting.aem.hex(), sighting.rssi)
        if form == "csv":
            yield ",".join(map(str, values))
        else:
            yield json.dumps(dict(zip(COLUMNS, values, strict=True)))


def read_sightings(text: str, *, now: float) -> list[Sighting]:
    """Reads CSV (a heading is optional) or JSON lines; empty lines and lines of `#` are passed over.

    Times are ISO 8601 with their offset (`Z` for UTC) or Unix seconds, none later than `now` by more than two
    hours. All or nothing: raises `BadSightings`, which names every bad line (the first twenty of them).
    """
    sightings: list[Sighting] = []
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if number > MAX_LINES:
            faults.append((number, f"more than {MAX_LINES} lines"))
        elif (stripped := line.strip()) and not stripped.startswith("#") and not _is_heading(stripped):
            try:
                sightings.append(_read_line(stripped, now))
            except Malformed as error:
                faults.append((number, str(error)))
        if len(faults) >= MAX_NAMED_FAULTS:
            break
    if faults:
        raise BadSightings(faults)
    return sightings


def _is_heading(line: str) -> bool:
    return [word.strip().lower() for word in line.split(",")] == list(COLUMNS)


def _read_line(line: str, now: float) -> Sighting:
    time, rpi, aem, rssi = _json_fields(line) if line.startswith("{") else _csv_fields(line)
    seconds = _seconds(time)
    if seconds > now + CLOCK_TOLERANCE_SECONDS:
        raise Malformed(f"time {time} lies in the future")
    if not _NUMBER.fullmatch(rssi) or not -127 <= int(rssi) <= 126:
        raise Malformed("rssi must be a whole number of dBm from -127 to 126")
    return Sighting(
        rpi=_hex_bytes("rpi", rpi, IDENTIFIER_BYTES),
        aem=_hex_bytes("aem", aem, METADATA_BYTES),
        minute=int(seconds // 60),
        rssi=int(rssi),
    )


def _csv_fields(line: str) -> Sequence[str]:
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise Malformed(f"not CSV: {error}") from error
    if len(fields) != len(COLUMNS):
        raise Malformed(f"has {len(fields)} fields; needed are {', '.join(COLUMNS)}")
    return [field.strip() for field in fields]


def _json_fields(line: str) -> Sequence[str]:
    members = decode_json_object(line.encode("utf-8", "replace"), "the line").as_dict()
    missing = [name for name in COLUMNS if name not in members]
    if missing:
        raise Malformed(f"lacks {', '.join(missing)}")
    values = [members[name] for name in COLUMNS]
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        raise Malformed(f"{', '.join(COLUMNS)} must be text or whole numbers")
    return [str(value) for value in values]


def _seconds(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Malformed(f"time {text} has no offset from UTC; end it with Z")
        return moment.timestamp()
    except (ValueError, OverflowError) as error:
        raise Malformed("time must be like 2026-06-15T12:00:00Z") from error


def _hex_bytes(name: str, text: str, length: int) -> bytes:
    if len(text) != 2 * length or not _HEX.fullmatch(text):
        raise Malformed(f"{name} must be {2 * length} hexadecimal digits")
    return bytes.fromhex(text)
