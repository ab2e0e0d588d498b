"""Keys by columns: a row of 24 bytes a key, as database, encoders and decoders hand on many at a time.

Says the same of a key as `TemporaryExposureKey` and refuses the same, without an object for each: a
nation's day is millions of them. Rows in canonical order are exactly `keys.canonical_order`. Nothing here
may add what a key does not say, and nothing drops a row.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from registry.errors import Malformed
from registry.protocol.keys import (
    ANY_TIME,
    KEY_BYTES,
    MAX_INTERVAL_NUMBER,
    MAX_ONSET_DAYS,
    MAX_ROLLING_PERIOD,
    MAX_TRANSMISSION_RISK_LEVEL,
    KeyTimes,
    ReportType,
    TemporaryExposureKey,
    check_published_key,
)

KEY_ROW = np.dtype(
    [
        # Not a byte string of numpy's: that one drops zeros at its end.
        ("key_data", np.uint8, (KEY_BYTES,)),
        ("rolling_start_interval_number", np.uint32),
        ("rolling_period", np.uint8),
        ("transmission_risk_level", np.uint8),
        ("report_type", np.uint8),
        ("days_since_onset_of_symptoms", np.int8),
    ]
)
NO_ONSET = -128
"""Stands for None in `days_since_onset_of_symptoms`. The least value of its column: none comes first."""

KeyRows = npt.NDArray[np.void]
"""One dimension, of KEY_ROW."""

Numbers = npt.NDArray[np.int64]
STANDS_TWICE = "a key stands twice in the file"

_REPORT_TYPES = tuple(ReportType)
_METADATA = (
    "rolling_start_interval_number",
    "rolling_period",
    "transmission_risk_level",
    "report_type",
    "days_since_onset_of_symptoms",
)


def no_rows() -> KeyRows:
    """An array of no keys."""
    return np.empty(0, KEY_ROW)


def key_rows(keys: Iterable[TemporaryExposureKey]) -> KeyRows:
    """The keys as rows, in the order given. Raises Malformed where `check_published_key` does."""
    held = list(keys)
    return key_rows_from_columns(
        [key.key_data for key in held],
        [key.rolling_start_interval_number for key in held],
        [key.rolling_period for key in held],
        [key.transmission_risk_level for key in held],
        [key.report_type for key in held],
        [key.days_since_onset_of_symptoms for key in held],
    )


def key_rows_from_columns(
    key_data: Sequence[bytes],
    starts: Sequence[int],
    periods: Sequence[int],
    risk_levels: Sequence[int],
    report_types: Sequence[int],
    onsets: Sequence[int | None],
) -> KeyRows:
    """Rows from values as a database hands them over, a sequence a column. Raises Malformed as `key_rows`."""
    days = [onset or 0 for onset in onsets]
    try:
        columns = [
            np.array(values, np.int64) for values in (starts, periods, risk_levels, report_types, days)
        ]
    except OverflowError as error:
        raise Malformed("a key has a number of more than 64 bits") from error
    lengths = np.array([len(one) for one in key_data], np.int64)
    _refuse_first(
        _unusable(columns, ANY_TIME) | (lengths != KEY_BYTES), key_data.__getitem__, columns, ANY_TIME
    )
    rows = np.empty(len(key_data), KEY_ROW)
    rows["key_data"] = np.frombuffer(b"".join(key_data), np.uint8).reshape(-1, KEY_BYTES)
    columns[-1][np.array([onset is None for onset in onsets], np.bool_)] = NO_ONSET
    for name, column in zip(_METADATA, columns, strict=True):
        rows[name] = column
    return rows


def temporary_exposure_keys(rows: KeyRows) -> list[TemporaryExposureKey]:
    """The rows as objects, in their order; for rows that `check_key_rows` passes."""
    data = rows["key_data"].tobytes()
    columns = zip(*(rows[name].tolist() for name in _METADATA), strict=True)
    return [
        TemporaryExposureKey(
            data[KEY_BYTES * place : KEY_BYTES * (place + 1)],
            start,
            period,
            level,
            _REPORT_TYPES[report_type],
            None if onset == NO_ONSET else onset,
        )
        for place, (start, period, level, report_type, onset) in enumerate(columns)
    ]


# ---------------------------------------------------------------- checks


def check_key_rows(rows: KeyRows, times: KeyTimes = ANY_TIME) -> None:
    """Raises Malformed for the first row that `check_published_key` refuses, in its words."""
    columns = [rows[name].astype(np.int64) for name in _METADATA]
    columns[-1][columns[-1] == NO_ONSET] = 0
    _refuse_first(_unusable(columns, times), lambda place: rows["key_data"][place].tobytes(), columns, times)


def check_revised_rows(rows: KeyRows) -> None:
    """Raises Malformed if a revised key does not say what it was revised to."""
    if bool((rows["report_type"] == ReportType.UNKNOWN).any()):
        raise Malformed("a revised key has no report type")


def _unusable(columns: Sequence[Numbers], times: KeyTimes) -> npt.NDArray[np.bool_]:
    """Which rows `check_published_key` refuses; `columns` as in _METADATA, 0 for no onset."""
    start, period, level, report_type, onset = columns
    return (
        (start < 0)
        | (start > min(MAX_INTERVAL_NUMBER, times.newest_start))
        | (start + period < times.oldest_end)
        | (period < 1)
        | (period > MAX_ROLLING_PERIOD)
        | (level < 0)
        | (level > MAX_TRANSMISSION_RISK_LEVEL)
        | (report_type < 0)
        | (report_type >= len(_REPORT_TYPES))
        | (onset < -MAX_ONSET_DAYS)
        | (onset > MAX_ONSET_DAYS)
    )


def _refuse_first(
    unusable: npt.NDArray[np.bool_],
    key_data_at: Callable[[int], bytes],
    columns: Sequence[Numbers],
    times: KeyTimes,
) -> None:
    if not unusable.any():
        return
    place = int(unusable.argmax())
    start, period, level, report_type, onset = (int(column[place]) for column in columns)
    if not 0 <= report_type < len(_REPORT_TYPES):
        raise Malformed(f"there is no report type {report_type}")
    kind = _REPORT_TYPES[report_type]
    check_published_key(TemporaryExposureKey(key_data_at(place), start, period, level, kind, onset), times)


def newest_end(rows: KeyRows) -> int | None:
    """The interval at which the newest key's validity ends; None if there is no key.

    The embargo of all of them is over `EMBARGO_INTERVALS` after it.
    """
    if len(rows) == 0:
        return None
    return int((rows["rolling_start_interval_number"].astype(np.int64) + rows["rolling_period"]).max())


# ---------------------------------------------------------------- order


def key_numbers(rows: KeyRows) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Each key as two numbers, its first and its last eight bytes: compared so, keys compare as bytes do."""
    halves = np.ascontiguousarray(rows["key_data"]).view(">u8").astype(np.uint64)
    return halves[:, 0], halves[:, 1]


def metadata_numbers(rows: KeyRows) -> npt.NDArray[np.uint64]:
    """What is said of each key, but for its risk level, as one number that compares as the order asks."""
    number = rows["rolling_start_interval_number"].astype(np.uint64)
    onset = rows["days_since_onset_of_symptoms"].astype(np.int16) - NO_ONSET
    for column in (rows["rolling_period"], rows["report_type"], onset):
        number = (number << np.uint64(8)) | column.astype(np.uint64)
    return number


def in_canonical_order(rows: KeyRows) -> KeyRows:
    """A copy of the rows, ordered as `keys.canonical_order` orders objects."""
    said = metadata_numbers(rows)
    high, low = key_numbers(rows)
    order = np.lexsort((high, said))
    # Nearly always that is all: two keys with the same first half are met by intent only.
    if bool(((said[order[1:]] == said[order[:-1]]) & (high[order[1:]] == high[order[:-1]])).any()):
        order = np.lexsort((rows["transmission_risk_level"], low, high, said))
    return rows[order]


def check_canonical_order(rows: KeyRows, after: KeyRows | None = None) -> None:
    """Raises Malformed unless the rows stand in canonical order and none of them stands there twice.

    `after` is what came before them, if they are a part of more: its last row is looked at. A key that
    comes again with other metadata is not seen here but by `DistinctKeys`.
    """
    if after is not None:
        rows = np.concatenate([after[-1:], rows])
    said = metadata_numbers(rows)
    high, low = key_numbers(rows)
    same_said = said[1:] == said[:-1]
    same_high = same_said & (high[1:] == high[:-1])
    if bool((same_high & (low[1:] == low[:-1])).any()):
        raise Malformed(STANDS_TWICE)
    rising = (
        (said[1:] > said[:-1]) | (same_said & (high[1:] > high[:-1])) | (same_high & (low[1:] > low[:-1]))
    )
    if not rising.all():
        raise Malformed("the keys do not stand in canonical order")


class DistinctKeys:
    """Whether no key comes twice, whatever is said of it: 16 bytes of memory for each that was added."""

    def __init__(self) -> None:
        self._seen: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]] = []

    def add(self, rows: KeyRows) -> None:
        """Remember the keys of `rows`."""
        self._seen.append(key_numbers(rows))

    def check(self) -> None:
        """Raises Malformed if a key was added twice."""
        if not self._seen:
            return
        high = np.concatenate([high for high, _ in self._seen])
        # Nearly always the first halves differ already, and sorting one column is many times faster.
        in_order = np.sort(high)
        if not bool((in_order[1:] == in_order[:-1]).any()):
            return
        low = np.concatenate([low for _, low in self._seen])
        order = np.lexsort((low, high))
        high, low = high[order], low[order]
        if bool(((high[1:] == high[:-1]) & (low[1:] == low[:-1])).any()):
            raise Malformed(STANDS_TWICE)
