"""Moments as people read them."""

from datetime import UTC, datetime

LAST = 253_370_764_800
"""The year 9999 begins. From here on times cannot be reckoned with: the calendar ends."""


def is_moment(seconds: float) -> bool:
    """Whether these unix seconds are a time by which something can be judged: from 1970 to 9998."""
    return 0 <= seconds < LAST


def utc(seconds: float) -> str:
    """`2026-06-15 12:00:00 UTC`; for times out of every calendar, the seconds."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} seconds after 1970"
