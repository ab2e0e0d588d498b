"""Ten-minute interval numbers, the only clock that keys and identifiers know.

An interval number counts whole 600-second steps since the Unix epoch, UTC (GAEN Cryptography
Specification v1.2, "ENIntervalNumber"). Nothing here may ask what time it is: every function is given it.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from registry.errors import Malformed

INTERVAL_SECONDS = 600
INTERVALS_PER_HOUR = 6
INTERVALS_PER_DAY = 144
EMBARGO_INTERVALS = 12
"""Two hours: phones accept an identifier up to two hours from its interval, so a key that was published
earlier than that after its end could be replayed at people (GAEN matching window)."""

Clock = Callable[[], float]
"""Unix seconds, UTC. Handed in by whoever composes the process."""

_EPOCH = date(1970, 1, 1)

LAST_INTERVAL = ((date.max - _EPOCH).days + 1) * INTERVALS_PER_DAY - 1
"""The last interval that has a date; strangers may write greater numbers."""


def interval_at(unix_seconds: float) -> int:
    """The interval that `unix_seconds` falls into: floor(seconds / 600)."""
    return int(unix_seconds // INTERVAL_SECONDS)


def seconds_at(interval: int) -> int:
    """Unix seconds at which `interval` begins."""
    return interval * INTERVAL_SECONDS


def day_start(interval: int) -> int:
    """The first interval of the UTC day that `interval` falls into."""
    return interval - interval % INTERVALS_PER_DAY


def ceil_to_hour(interval: int) -> int:
    """The first interval at or after `interval` that begins on a full UTC hour."""
    return -(-interval // INTERVALS_PER_HOUR) * INTERVALS_PER_HOUR


def interval_of_date(day: date) -> int:
    """The interval at 00:00 UTC of `day`. Negative before 1970."""
    return (day - _EPOCH).days * INTERVALS_PER_DAY


def date_of_interval(interval: int) -> date:
    """The UTC date that `interval` falls into. Raises Malformed before 1970 and after the year 9999."""
    if not 0 <= interval <= LAST_INTERVAL:
        raise Malformed(f"interval number {interval} has no date")
    return _EPOCH + timedelta(days=interval // INTERVALS_PER_DAY)


def utc_date(unix_seconds: float) -> date:
    """The UTC date at `unix_seconds`."""
    return datetime.fromtimestamp(unix_seconds, UTC).date()
