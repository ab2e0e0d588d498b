"""Temporary exposure keys, their report types, and the one order in which they are published.

A key is 16 random bytes, the interval from which a phone used it and for how many intervals (GAEN
Cryptography Specification v1.2). It says nothing about a person, and nothing here may add anything.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter
from types import MappingProxyType

from registry.errors import Malformed
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at

KEY_BYTES = 16
MAX_ROLLING_PERIOD = INTERVALS_PER_DAY
MAX_TRANSMISSION_RISK_LEVEL = 8
MAX_INTERVAL_NUMBER = 2**31 - 1
MAX_ONSET_DAYS = 14
"""Phones map days since onset only from -14 to 14."""

MAX_KEY_AGE_INTERVALS = 28 * INTERVALS_PER_DAY
"""A key is 15 days old at most when it comes in, and may be revised until it is retired at 21; the rest
is for a publisher that catches up after days of standstill. Anything older is a mistake."""


class ReportType(IntEnum):
    """How a positive result came about, with the numbers of GAEN's export format."""

    UNKNOWN = 0
    CONFIRMED_TEST = 1
    CONFIRMED_CLINICAL_DIAGNOSIS = 2
    SELF_REPORT = 3
    RECURSIVE = 4
    REVOKED = 5


REPORT_TYPES: Mapping[str, ReportType] = MappingProxyType(
    {
        "confirmed": ReportType.CONFIRMED_TEST,
        "likely": ReportType.CONFIRMED_CLINICAL_DIAGNOSIS,
        "user-report": ReportType.SELF_REPORT,
        "negative": ReportType.REVOKED,
    }
)
"""The words of the verification certificate (`reportType`) and what they mean in an export file."""


@dataclass(frozen=True, slots=True)
class TemporaryExposureKey:
    """One key with what is published about it. Valid in [start, start + period) intervals.

    `transmission_risk_level` is deprecated in GAEN: carried, never built upon.
    """

    key_data: bytes
    rolling_start_interval_number: int
    rolling_period: int = MAX_ROLLING_PERIOD
    transmission_risk_level: int = 0
    report_type: ReportType = ReportType.UNKNOWN
    days_since_onset_of_symptoms: int | None = None

    @property
    def end_interval_number(self) -> int:
        """The first interval in which the key is no longer valid."""
        return self.rolling_start_interval_number + self.rolling_period


def check_key(key: TemporaryExposureKey) -> None:
    """Raises Malformed unless the key is 16 bytes and its numbers lie within the format's bounds.

    Period 1..144, transmission risk 0..8, start 0..2^31-1. Age and embargo are policy, not format.
    """
    if len(key.key_data) != KEY_BYTES:
        raise Malformed(f"a key must be {KEY_BYTES} bytes long, this one has {len(key.key_data)}")
    if not 1 <= key.rolling_period <= MAX_ROLLING_PERIOD:
        raise Malformed(f"rolling period must be 1 to {MAX_ROLLING_PERIOD}, not {key.rolling_period}")
    if not 0 <= key.transmission_risk_level <= MAX_TRANSMISSION_RISK_LEVEL:
        raise Malformed(
            f"transmission risk must be 0 to {MAX_TRANSMISSION_RISK_LEVEL}, not {key.transmission_risk_level}"
        )
    if not 0 <= key.rolling_start_interval_number <= MAX_INTERVAL_NUMBER:
        raise Malformed(f"rolling start {key.rolling_start_interval_number} is not an interval number")


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """When the keys of a file may begin at the latest and end at the earliest, as interval numbers."""

    newest_start: int = MAX_INTERVAL_NUMBER
    oldest_end: int = 0

    @classmethod
    def of_window(cls, window_end: float, *, now: float) -> "KeyTimes":
        """No key begins after `now`; none ended over 28 days before the window did. Both in unix seconds."""
        return cls(interval_at(now), interval_at(window_end) - MAX_KEY_AGE_INTERVALS)


ANY_TIME = KeyTimes()


def check_published_key(key: TemporaryExposureKey, times: KeyTimes = ANY_TIME) -> None:
    """Raises Malformed unless the key is well-formed (`check_key`), of its time, and phones map its onset."""
    check_key(key)
    if key.rolling_start_interval_number > times.newest_start:
        raise Malformed(f"a key begins in the future, at {key.rolling_start_interval_number}")
    if key.end_interval_number < times.oldest_end:
        raise Malformed(f"a key ended at {key.end_interval_number}, more than 28 days ago")
    onset = key.days_since_onset_of_symptoms
    if onset is not None and abs(onset) > MAX_ONSET_DAYS:
        raise Malformed(f"days since onset must be -{MAX_ONSET_DAYS} to {MAX_ONSET_DAYS}")


def canonical_order(keys: Iterable[TemporaryExposureKey]) -> list[TemporaryExposureKey]:
    """Keys by start, period, report type, onset (none first), then key: the order of every export file.

    It depends on nothing but the keys, so a file does not show who uploaded what together or when.
    """
    # By groups: a file has few kinds of metadata and many keys, and comparing tuples of seven costs most.
    groups: dict[tuple[int, int, ReportType, int | None], list[TemporaryExposureKey]] = defaultdict(list)
    for key in keys:
        groups[
            key.rolling_start_interval_number,
            key.rolling_period,
            key.report_type,
            key.days_since_onset_of_symptoms,
        ].append(key)
    in_group = attrgetter("key_data", "transmission_risk_level")
    return [key for metadata in sorted(groups, key=_place) for key in sorted(groups[metadata], key=in_group)]


def _place(metadata: tuple[int, int, ReportType, int | None]) -> tuple[int, int, int, bool, int]:
    start, period, report_type, onset = metadata
    return start, period, report_type, onset is not None, onset or 0
