"""Moments as people read them."""

from datetime import UTC, datetime


def utc(seconds: float) -> str:
    """`2026-06-15 12:00:00 UTC`; for times out of every calendar, the seconds."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} seconds after 1970"
