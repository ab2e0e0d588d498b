"""Where public files lie, and the indexes that list them. All public paths are built here and only here.

The legacy index is lines of file names, as existing apps read it. The native index tells a phone which
windows there are without a gap, so that a missing one is seen, and what each file must hash to.
Paths are relative to the public root, but names in either index are relative to /exposures/.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.encoding import (
    JsonObject,
    decode_base64,
    decode_json_object,
    encode_base64,
    encode_json,
)
from registry.protocol.regions import check_region
from registry.protocol.tiles import Tile, tile_path

EXPOSURES = "exposures"
TRUST_PATH = ".well-known/exposure-registry.json"
TRUST_NOTE_PATH = f"{TRUST_PATH}.note"
LOG = "log"
LOG_CHECKPOINT_PATH = f"{LOG}/checkpoint"
"""The current shard's newest checkpoint, with every signature."""
LOG_POLICY_PATH = f"{LOG}/policy"
GAEN_ZIP = "gaen-zip"
COMPACT = "compact"
_EXTENSIONS = {GAEN_ZIP: "zip", COMPACT: "compact"}
SALT_BYTES = 32

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(?P<region>[A-Z0-9-]+)/(?P<daily>daily/)?[0-9]+-[0-9]+-[0-9]{5}\.[a-z0-9]+")


def export_name(
    region: str, start: int, end: int, file_number: int, *, form: str = GAEN_ZIP, daily: bool = False
) -> str:
    """`XA/1700000000-1700003600-00001.zip`, relative to /exposures/; window in unix seconds, number from 1.

    A day's file lies in `XA/daily/`, under a name of the same kind. Existing apps take start and end from the
    name, and sort by it. Raises Malformed.
    """
    check_region(region)
    folder = f"{region}/daily" if daily else region
    return f"{folder}/{start}-{end}-{file_number:05d}.{_EXTENSIONS[form]}"


def number_in_name(name: str) -> int:
    """The file's number in a name that `export_name` built."""
    return int(name.rpartition("-")[2].partition(".")[0])


def legacy_index_path(region: str) -> str:
    """Path of the index that existing apps poll."""
    check_region(region)
    return f"{EXPOSURES}/{region}/index.txt"


def daily_index_path(region: str) -> str:
    """Path of the index of day files, of the same form as the legacy index."""
    check_region(region)
    return f"{EXPOSURES}/{region}/daily/index.txt"


def index_path(region: str) -> str:
    """Path of the native index; its bytes change with every window."""
    check_region(region)
    return f"{EXPOSURES}/{region}/index.json"


def index_digest_path(region: str, sha256: str) -> str:
    """Path under which one native index stays as it was. `sha256` in lower-case hex."""
    check_region(region)
    return f"{EXPOSURES}/{region}/index/{_digest(sha256)}.json"


def index_proof_path(region: str) -> str:
    """Path of the proof that the newest index is in the log; the one pointer that phones follow."""
    return f"{index_path(region)}.tlog-proof"


def manifest_path(region: str, sha256: str) -> str:
    """Path of a batch's manifest. `sha256` in lower-case hex."""
    check_region(region)
    return f"{EXPOSURES}/{region}/manifest/{_digest(sha256)}.json"


def shard_checkpoint_path(year: int) -> str:
    """Path of the newest checkpoint of a year's shard; its final one once the year is over."""
    return f"{LOG}/{year:04d}/checkpoint"


def shard_signed_path(year: int) -> str:
    """Path of the newest checkpoint of a year's shard that the log itself has signed.

    Phones are not pointed to it: it may still lack its witnesses.
    """
    return f"{LOG}/{year:04d}/signed"


def shard_tile_path(year: int, tile: Tile) -> str:
    """Path of one tile or bundle of a year's shard."""
    return f"{LOG}/{year:04d}/{tile_path(tile)}"


def _digest(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise Malformed("a SHA-256 digest is 64 lower-case hexadecimal digits")
    return sha256


def encode_legacy_index(names: Iterable[str]) -> bytes:
    """US-ASCII, one name a line, no newline at the end; no names, no bytes."""
    return "\n".join(names).encode("ascii")


def decode_legacy_index(content: bytes) -> list[str]:
    """The names, oldest first. Split at any white space, as existing apps do. Raises Malformed."""
    try:
        names = content.decode("ascii").split()
    except UnicodeDecodeError as error:
        raise Malformed("the index is not US-ASCII") from error
    for name in names:
        _check_name(name)
    return names


def _check_name(name: str) -> tuple[str, bool]:
    """The region that the name begins with, and whether it is a day's. Never a path out of /exposures/."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise Malformed(f"{name[:80]!r} is not the name of an export file")
    check_region(match["region"])
    return match["region"], match["daily"] is not None


@dataclass(frozen=True, slots=True)
class IndexFile:
    """One file of a window: name relative to /exposures/, SHA-256 in hex, size in bytes."""

    path: str
    sha256: str
    size: int
    format: str = GAEN_ZIP


@dataclass(frozen=True, slots=True)
class IndexWindow:
    """The window [start, end) in unix seconds, or a run of windows without files as one entry.

    `last_sequence` is greater than `sequence` only for such a run.
    """

    sequence: int
    last_sequence: int
    start: int
    end: int
    files: tuple[IndexFile, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexDay:
    """Files that hold together what windows `sequence` to `last_sequence`, [start, end), hold each by itself.

    Whoever reads them needs no file of those windows, and the other way round.
    """

    sequence: int
    last_sequence: int
    start: int
    end: int
    files: tuple[IndexFile, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """All windows of a region within the retention, oldest first, and the closed days that roll them up.

    Times are unix seconds.

    `sequence` is the newest window's, or the last one there ever was if none is left. `salt` (32 random
    bytes) makes the index's digest, which stays in the log, one that nobody can guess back; indexes of
    before the log have none.
    """

    region: str
    sequence: int
    issued_at: int
    next_window_end: int
    expires_at: int
    windows: tuple[IndexWindow, ...] = ()
    salt: bytes = b""
    days: tuple[IndexDay, ...] = ()


def encode_index(index: Index) -> bytes:
    """Canonical JSON: the same index is the same bytes, so its digest can stand in a log."""
    salt = {"salt": encode_base64(index.salt)} if index.salt else {}
    days = {"days": [_span_members(day) for day in index.days]} if index.days else {}
    return encode_json(
        {
            **salt,
            **days,
            "region": index.region,
            "sequence": index.sequence,
            "issued_at": index.issued_at,
            "next_window_end": index.next_window_end,
            "expires_at": index.expires_at,
            "windows": [_span_members(window) for window in index.windows],
        }
    )


def _span_members(span: IndexWindow | IndexDay) -> dict[str, object]:
    return {
        "sequence": span.sequence,
        "last_sequence": span.last_sequence,
        "start": span.start,
        "end": span.end,
        "files": [
            {"path": file.path, "sha256": file.sha256, "size": file.size, "format": file.format}
            for file in span.files
        ],
    }


def decode_index(content: bytes) -> Index:
    """The index, once it is without gaps. Unknown members are passed over. Raises Malformed.

    1. Every window ends after it starts, and begins where its predecessor ends.
    2. Sequence numbers leave nothing out; only a run without files spans several.
    3. The newest window's number is the index's.
    4. Every file is named once, under this region, with a digest and a size.
    5. The index expires after it was issued.
    6. A salt has 32 bytes.
    7. A day begins and ends with windows that are listed, holds files, and no two days share a window.
    """
    document = decode_json_object(content, "index")
    region = document.text("region")
    check_region(region)
    index = Index(
        region=region,
        sequence=document.integer("sequence"),
        issued_at=document.integer("issued_at"),
        next_window_end=document.integer("next_window_end"),
        expires_at=document.integer("expires_at"),
        windows=tuple(_read_window(window, region) for window in document.children("windows")),
        salt=decode_base64(document.text("salt")) if "salt" in document else b"",
        days=_read_days(document, region) if "days" in document else (),
    )
    for before, after in zip(index.windows, index.windows[1:], strict=False):
        if after.start != before.end:  # 1
            raise Malformed(f"index: window {after.sequence} does not begin where {before.sequence} ends")
        if after.sequence != before.last_sequence + 1:  # 2
            raise Malformed(f"index: no window between {before.last_sequence} and {after.sequence}")
    if index.windows and index.windows[-1].last_sequence != index.sequence:  # 3
        raise Malformed(f"index: 'sequence' is {index.sequence}, but its newest window's is not")
    paths = [file.path for window in index.windows for file in window.files]
    paths += [file.path for day in index.days for file in day.files]
    if len(set(paths)) != len(paths):  # 4
        raise Malformed("index: a file is named twice")
    if index.expires_at <= index.issued_at:  # 5
        raise Malformed("index: expires before it was issued")
    if index.salt and len(index.salt) != SALT_BYTES:  # 6
        raise Malformed(f"index: 'salt' must be {SALT_BYTES} bytes")
    _check_days(index)  # 7
    return index


def _read_days(document: JsonObject, region: str) -> tuple[IndexDay, ...]:
    return tuple(
        IndexDay(
            sequence=day.integer("sequence"),
            last_sequence=day.integer("last_sequence"),
            start=day.integer("start"),
            end=day.integer("end"),
            files=tuple(_read_file(file, region, daily=True) for file in day.children("files")),
        )
        for day in document.children("days")
    )


def _check_days(index: Index) -> None:
    """A run of windows without files is one entry, and a day may begin or end inside it."""
    firsts = [window.sequence for window in index.windows]
    before, last_end = 0, 0
    for day in index.days:
        is_empty = day.last_sequence < day.sequence or day.end <= day.start or not day.files
        if is_empty or day.sequence <= before or day.start < last_end:
            raise Malformed(f"index: the day of window {day.sequence} is empty, or out of its order")
        before, last_end = day.last_sequence, day.end
        if not firsts or not firsts[0] <= day.sequence <= day.last_sequence <= index.sequence:
            raise Malformed(f"index: the day of window {day.sequence} has windows that are not listed")
        first = index.windows[bisect_right(firsts, day.sequence) - 1]
        last = index.windows[bisect_right(firsts, day.last_sequence) - 1]
        begins = first.sequence == day.sequence
        finishes = last.last_sequence == day.last_sequence
        if not (day.start == first.start if begins else first.start < day.start < first.end) or not (
            day.end == last.end if finishes else last.start < day.end < last.end
        ):
            raise Malformed(f"index: the day of window {day.sequence} does not fit the windows listed")


def _read_window(document: JsonObject, region: str) -> IndexWindow:
    window = IndexWindow(
        sequence=document.integer("sequence"),
        last_sequence=document.integer("last_sequence"),
        start=document.integer("start"),
        end=document.integer("end"),
        files=tuple(_read_file(file, region) for file in document.children("files")),
    )
    if window.end <= window.start:  # 1
        raise Malformed(f"index: window {window.sequence} ends before it starts")
    if window.last_sequence < window.sequence or (
        window.files and window.last_sequence != window.sequence
    ):  # 2
        raise Malformed(f"index: window {window.sequence} cannot run to {window.last_sequence}")
    return window


def _read_file(document: JsonObject, region: str, *, daily: bool = False) -> IndexFile:
    file = IndexFile(
        path=document.text("path"),
        sha256=document.text("sha256"),
        size=document.integer("size", least=1),
        format=document.text("format"),
    )
    if _check_name(file.path) != (region, daily):  # 4
        raise Malformed(f"index: {file.path} lies in another region, or is no file of its kind")
    if not _SHA256.fullmatch(file.sha256):
        raise Malformed(f"index: the digest of {file.path} is not a SHA-256 in lower-case hexadecimal")
    return file
