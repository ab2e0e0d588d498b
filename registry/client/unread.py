"""Which files a phone has to read to have all that an index offers and it does not have yet. Pure.

What a window holds is offered in one or more formats, and once more in the file of its day: a phone takes one
of them. It never takes two, and never none: what stands in for something else is named beside it, for when
the first cannot be had or believed.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from registry.client.verify import MAX_FILE_BYTES, Span
from registry.protocol.index import COMPACT, GAEN_ZIP, Index, IndexDay, IndexFile, IndexWindow

PREFERRED = (COMPACT, GAEN_ZIP)
"""The formats that phones read, the smallest first."""

LEAST_WINDOWS = 2
"""Unread windows of a day that are worth its file; where there is but one, its own is the smaller."""

REQUEST_BYTES = 500
"""What asking for a file costs beside the file."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`files` that together are all of `span`, each to be read by itself.

    `covers` is what need not be read any more once all of them are: SHA-256 (hex) of files, with the end of
    their window. `otherwise` is what to read instead if one of them cannot be had or believed.
    """

    span: Span
    files: tuple[IndexFile, ...]
    covers: Mapping[str, int]
    otherwise: tuple["Reading", ...] = ()


def readings(index: Index, read: Collection[str]) -> list[Reading]:
    """What is to be read, oldest first. `read` are the SHA-256 (hex) of all files that were."""
    days = windows_of_days(index)
    known = set(read)
    for day, windows in days:
        if _is_read(day, known):
            known |= _covered(windows).keys()
    plan = []
    by_file: set[int] = set()
    for day, windows in days:
        unread = [window for window in windows if not _is_read(window, known)]
        if _is_worth_reading(day, unread, known, is_newest=day is index.days[-1]):
            one_by_one = tuple(_reading(window, known, _covered([window])) for window in unread)
            plan.append(_reading(day, known, _covered([day, *windows]), one_by_one))
            by_file.update(window.sequence for window in unread)
    plan += [
        _reading(window, known, _covered([window]))
        for window in index.windows
        if window.sequence not in by_file and not _is_read(window, known)
    ]
    return sorted(plan, key=lambda reading: reading.span.start)


def _is_worth_reading(
    day: IndexDay, unread: Collection[IndexWindow], read: Collection[str], *, is_newest: bool
) -> bool:
    """Whether the day's file stands in for those of its windows.

    Who was away reads days, whatever they cost: so many requests and no more. But who polls all the time has
    a few windows of yesterday left when it is closed, and they may be far less than all of it.
    """
    if len(unread) < LEAST_WINDOWS:
        return False
    return not is_newest or _cost(day, read) <= sum(_cost(window, read) for window in unread)


def _cost(span: Span, read: Collection[str]) -> int:
    return sum(file.size + REQUEST_BYTES for file in _ways(span, read)[0] if file.sha256 not in read)


def windows_of_days(index: Index) -> list[tuple[IndexDay, list[IndexWindow]]]:
    """Each day with those of its windows that have files."""
    starts = [day.sequence for day in index.days]
    windows: dict[int, list[IndexWindow]] = defaultdict(list)
    for window in index.windows:
        place = bisect_right(starts, window.sequence) - 1
        if window.files and place >= 0 and window.last_sequence <= index.days[place].last_sequence:
            windows[place].append(window)
    return [(day, windows[place]) for place, day in enumerate(index.days)]


def _is_read(span: Span, read: Collection[str]) -> bool:
    """Whether what the span holds was read, in whatever format."""
    missing = {file.format for file in span.files if file.sha256 not in read}
    return not span.files or {file.format for file in span.files} != missing


def _covered(spans: Collection[Span]) -> dict[str, int]:
    return {file.sha256: span.end for span in spans for file in span.files}


def _reading(
    span: Span, read: Collection[str], covers: Mapping[str, int], otherwise: tuple[Reading, ...] = ()
) -> Reading:
    """The first way to read the span, with all others behind it and `otherwise` last."""
    for way in reversed(_ways(span, read)):
        files = tuple(file for file in way if file.sha256 not in read)
        otherwise = (Reading(span, files, covers, otherwise),)
    return otherwise[0]


def _ways(span: Span, read: Collection[str]) -> list[list[IndexFile]]:
    """The span's files by format, the best first; of no use to phones only if there are no others."""
    ways = [[file for file in span.files if file.format == form] for form in PREFERRED]
    ways = [way for way in ways if way and all(file.size <= MAX_FILE_BYTES for file in way)]
    # What was begun is read to its end: the rest of it is less than all of another.
    ways.sort(key=lambda way: all(file.sha256 not in read for file in way))
    return ways or [list(span.files)]
