"""The keys inside `export.bin`, written and read by columns: protobuf records, byte for byte.

Writes exactly what protobuf's own encoder writes of the same keys. Reads only the layout that it writes
itself, and says so where it meets another: then protobuf's reader, which knows every layout, must have it.
Field numbers and types are those of `export_file.proto`.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from registry.errors import Malformed
from registry.protocol.key_rows import KEY_ROW, NO_ONSET, KeyRows, no_rows
from registry.protocol.keys import KEY_BYTES, MAX_INTERVAL_NUMBER, MAX_ROLLING_PERIOD, ReportType

KEYS_TAG = 0x3A
REVISED_KEYS_TAG = 0x42

MAX_RECORDS = 1_000_400
"""Keys and signers in a file; ours are cut at 500,000 keys, phones take about 750,000. Each costs its reader
hundreds of bytes, and two bytes are enough to state one: so they are counted before any is made."""

_KEY_DATA, _RISK_LEVEL, _START, _PERIOD, _REPORT_TYPE, _ONSET = 0x0A, 0x10, 0x18, 0x20, 0x28, 0x30
"""Tags: field number times 8, plus 2 for bytes and 0 for a number."""

_START_BYTES, _PERIOD_BYTES = 5, 2
"""What a number takes at most as a varint: seven bits a byte, the lowest first."""

_LONGEST = 2 + 2 + KEY_BYTES + 2 + 1 + _START_BYTES + 1 + _PERIOD_BYTES + 2 + 2
_SHORTEST = 2 + 2 + KEY_BYTES + 2
_TOO_LONG = 2**40
_ROWS_AT_ONCE = 65_536
"""Bounds the memory that laying out takes, whatever the number of keys."""

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


# ---------------------------------------------------------------- write


def encode_records(tag: int, rows: KeyRows) -> Iterator[bytes]:
    """One record a row, each after `tag` and its length; some thousands of records a piece.

    Of rows that `check_key_rows` passes. Risk is always there; a start of 0, a period of 144, report type
    UNKNOWN and no onset are left out.
    """
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        yield _laid_out(tag, rows[first : first + _ROWS_AT_ONCE])


def record_bytes(rows: KeyRows) -> npt.NDArray[np.int64]:
    """How many bytes each row takes in `export.bin`, tag and length included."""
    start, period = rows["rolling_start_interval_number"], rows["rolling_period"]
    size = np.full(len(rows), _SHORTEST, np.int64)
    for column in range(_START_BYTES):
        size += (start >> (7 * column) != 0).astype(np.int64)
    size += start != 0
    size += np.where(period == MAX_ROLLING_PERIOD, 0, np.where(period > 0x7F, 3, 2))
    size += np.where(rows["report_type"] != ReportType.UNKNOWN, 2, 0)
    size += np.where(rows["days_since_onset_of_symptoms"] != NO_ONSET, 2, 0)
    return size


def _laid_out(tag: int, rows: KeyRows) -> bytes:
    """Every byte that a record may have in a column of its own; those that are there, row by row."""
    table = np.empty((len(rows), _LONGEST), np.uint8)
    there = np.ones((len(rows), _LONGEST), np.bool_)
    start, period = rows["rolling_start_interval_number"], rows["rolling_period"]
    kind, onset = rows["report_type"], rows["days_since_onset_of_symptoms"]
    table[:, 0], table[:, 2], table[:, 3] = tag, _KEY_DATA, KEY_BYTES
    table[:, 4:20] = rows["key_data"]
    table[:, 20], table[:, 21] = _RISK_LEVEL, rows["transmission_risk_level"]
    table[:, 22], there[:, 22] = _START, start != 0
    _put_varint(table[:, 23:28], there[:, 23:28], start)
    table[:, 28], there[:, 28] = _PERIOD, period != MAX_ROLLING_PERIOD
    _put_varint(table[:, 29:31], there[:, 29:31], period)
    there[:, 29:31] &= there[:, 28:29]
    table[:, 31], table[:, 32] = _REPORT_TYPE, kind
    there[:, 31:33] = (kind != ReportType.UNKNOWN)[:, None]
    table[:, 33], table[:, 34] = _ONSET, (onset << 1) ^ (onset >> 7)  # zigzag: 0, -1, 1, -2, …
    there[:, 33:35] = (onset != NO_ONSET)[:, None]
    table[:, 1] = there.sum(axis=1) - 2
    return table[there].tobytes()


def _put_varint(table: Bytes, there: npt.NDArray[np.bool_], number: npt.NDArray[np.unsignedinteger]) -> None:
    """Fill the columns; a zero has no byte, for where it counts it is left out with its tag."""
    last = table.shape[1] - 1
    for column in range(last + 1):
        rest = number >> (7 * column)
        there[:, column] = rest != 0
        table[:, column] = (rest & 0x7F) | np.where(rest > 0x7F, 0x80, 0)


# ---------------------------------------------------------------- read


def check_record_count(export_bin: bytes, place: int) -> None:
    """Raises Malformed for more records from `place` on than a file may have, having built none of them.

    What is no protobuf at all is left to the parser to refuse: it stops where this does.
    """
    at, end, count = place, len(export_bin), 0
    if end - at <= MAX_RECORDS:
        return  # no room for more: a record has two bytes at least
    while at < end:
        tag, size = export_bin[at], export_bin[at + 1] if at + 1 < end else 0
        if tag & 0x87 == _LENGTH and size < 0x80:
            at += 2 + size  # almost every record
            count += 1
        elif tag & 7 == _LENGTH:
            start = _after_varint(export_bin, at)
            at = _after_varint(export_bin, start)
            size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(export_bin[start:at][:5]))
            at += size
            count += 1
        elif tag & 7 == _VARINT:
            at = _after_varint(export_bin, _after_varint(export_bin, at))
        elif tag & 7 in _FIXED:
            at = _after_varint(export_bin, at) + _FIXED[tag & 7]
        else:
            raise Malformed("export.bin is not a TemporaryExposureKeyExport")
        if count > MAX_RECORDS:
            raise Malformed(f"export.bin holds more than {MAX_RECORDS} records")


# Wire types of protobuf, and how long a value of fixed length is.
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}


def _after_varint(content: bytes, at: int) -> int:
    while at < len(content) and content[at] & 0x80:
        at += 1
    return at + 1


def decode_records(content: bytes, place: int, tag: int) -> tuple[KeyRows, int] | None:
    """The records under `tag` from `place` on, and the place after them; None if the layout is another.

    Whether keys make sense is for `check_key_rows`.
    """
    # Of more than any file may have, the rest stays unread, and with it the layout is another.
    starts = np.fromiter(islice(_walk(content, place, tag), MAX_RECORDS + 1), np.int64)
    if len(starts) == 0:
        return no_rows(), place
    # Room behind the last record, so that a look past its end is no fault but a wrong byte.
    padded = np.frombuffer(content + bytes(_LONGEST), np.uint8)
    lengths = padded[starts + 1].astype(np.int64) + 2
    if int(lengths.max()) > _LONGEST or int(lengths.min()) < _SHORTEST:
        return None
    ends = starts + lengths
    end = int(ends[-1])
    if end > len(content):
        return None
    rows = np.empty(len(starts), KEY_ROW)
    for first in range(0, len(starts), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        if not _read_part(padded, starts[part], ends[part], rows[part]):
            return None
    return rows, end


def _walk(content: bytes, place: int, tag: int) -> Iterator[int]:
    """Where records begin, by their lengths. A length of two bytes leads astray, and is found out later."""
    last = len(content) - 1
    while place < last and content[place] == tag:
        yield place
        place += content[place + 1] + 2


def _read_part(content: Bytes, starts: Places, ends: Places, rows: KeyRows) -> bool:
    """Fill `rows`; False if a record has another layout, or a number that a row cannot hold."""
    regular = (content[starts + 2] == _KEY_DATA) & (content[starts + 3] == KEY_BYTES)
    rows["key_data"] = content[(starts + 4)[:, None] + np.arange(KEY_BYTES)]
    level = content[starts + 21]
    regular &= (content[starts + 20] == _RISK_LEVEL) & (level < 0x80)
    rows["transmission_risk_level"] = level
    places = starts + 22
    start, _ = _take_varint(content, places, ends, _START, _START_BYTES)
    period, has_period = _take_varint(content, places, ends, _PERIOD, _PERIOD_BYTES)
    kind, _ = _take_varint(content, places, ends, _REPORT_TYPE, 1)
    zigzag, has_onset = _take_varint(content, places, ends, _ONSET, 1)
    regular &= (start <= MAX_INTERVAL_NUMBER) & (period <= 0xFF) & (kind <= max(ReportType)) & (zigzag < 0x80)
    if not (regular & (places == ends)).all():
        return False
    rows["rolling_start_interval_number"] = start
    rows["rolling_period"] = np.where(has_period, period, MAX_ROLLING_PERIOD)
    rows["report_type"] = kind
    rows["days_since_onset_of_symptoms"] = np.where(has_onset, (zigzag >> 1) ^ -(zigzag & 1), NO_ONSET)
    return True


def _take_varint(
    content: Bytes, places: Places, ends: Places, tag: int, most: int
) -> tuple[Places, npt.NDArray[np.bool_]]:
    """(number, whether it is there) of each record that goes on with `tag`; moves `places` behind it.

    0 where it is not there, and more than any number here may be where it has more than `most` bytes.
    """
    present = (places < ends) & (content[places] == tag)
    places += present
    number = np.zeros(len(places), np.int64)
    more = present.copy()
    for column in range(most):
        byte = content[places].astype(np.int64)
        number |= np.where(more, (byte & 0x7F) << (7 * column), 0)
        places += more
        more &= byte > 0x7F
    number[more] = _TOO_LONG
    return number, present
