"""Which export files are of one window: its parts, its feeds, and days' files that hold the same once more.

An attacker has whatever files there are. A day's file begins when its first window does and shares all keys
with its windows; taken for one of them, it would look like a window that was padded twice.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from registry.protocol.export_file import ExportFile
from registry.protocol.keys import TemporaryExposureKey

Span = tuple[int, int]
"""Start and end of a window or a day, unix seconds."""

_MOST_PARTS = 600
"""Of one window: what does not fit into a file goes into further ones, of which each ends a second later."""


def windows_at_hand(files: Iterable[ExportFile]) -> list[tuple[Span, list[ExportFile]]]:
    """The files of each window, oldest first. A file twice counts once.

    A day's file counts, as a window of its own, for what the files of its windows do not hold. Where it has
    only some of a window's keys, it is that window made anew.
    """
    spans = _by_span(dict.fromkeys(files))
    days = {span for span in spans if any(_holds(span, other) for other in spans)}
    windows = {span: found for span, found in spans.items() if span not in days}
    known = {key.key_data for found in windows.values() for file in found for key in _all_keys(file)}
    rests: dict[Span, list[ExportFile]] = {}
    for day in days:
        for window, found in windows.items():
            if _holds(day, window):
                found += _made_anew(found, spans[day])
        if rest := [left for file in spans[day] if _all_keys(left := _without(file, known))]:
            rests[day] = rest
    return sorted((windows | rests).items(), key=lambda item: item[0])


def makings(parts: Sequence[frozenset[bytes]]) -> tuple[frozenset[bytes], ...]:
    """The keys of each time that a region's window was made, from those of its files.

    Files that share keys are one window made anew; others are its parts. Parts beside a file that holds just
    them all, as a compact one does, are no making of their own.
    """
    distinct = [part for part in dict.fromkeys(parts) if part]
    for whole in list(distinct):
        pieces = [piece for piece in distinct if piece < whole]
        if sum(map(len, pieces)) == len(whole) == len(frozenset().union(*pieces)):
            distinct = [one for one in distinct if one not in pieces]
    if any(one & other for one, other in combinations(distinct, 2)):
        return tuple(distinct)
    return (frozenset().union(*distinct),)


def _by_span(files: Iterable[ExportFile]) -> dict[Span, list[ExportFile]]:
    """Files by window or day; its end is that of its first part."""
    spans: dict[Span, list[ExportFile]] = {}
    last: Span | None = None
    for file in sorted(files, key=lambda file: (file.start_timestamp, file.end_timestamp)):
        start, end = file.start_timestamp, file.end_timestamp
        # A day ends at least the length of a window after its first window.
        if last is None or start != last[0] or end - last[1] >= min(_MOST_PARTS, last[1] - start):
            last = start, end
        spans.setdefault(last, []).append(file)
    return spans


def _holds(day: Span, window: Span) -> bool:
    """Whether the one is a day to which the other belongs."""
    return day != window and day[0] <= window[0] and window[1] <= day[1]


def _all_keys(file: ExportFile) -> tuple[TemporaryExposureKey, ...]:
    return file.keys + file.revised_keys


def _without(file: ExportFile, known: Collection[bytes]) -> ExportFile:
    keys, revised = (
        tuple(key for key in keys if key.key_data not in known) for keys in (file.keys, file.revised_keys)
    )
    return replace(file, keys=keys, revised_keys=revised)


def _made_anew(window: Sequence[ExportFile], day: Sequence[ExportFile]) -> list[ExportFile]:
    """What days' files have of a window, where it is not all of it: then they were padded with others."""
    found = []
    for region in sorted({file.region for file in window} & {file.region for file in day}):
        mine = [file for file in window if file.region == region]
        keys = {key.key_data: key for file in mine for key in file.keys}
        of_day = {key.key_data for file in day if file.region == region for key in file.keys}
        kept = tuple(key for name, key in keys.items() if name in of_day)
        if 0 < len(kept) < len(keys):
            found.append(replace(mine[0], keys=kept, revised_keys=()))
    return found
