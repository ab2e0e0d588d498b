"""What a phone chooses to read: everything once, whatever was read before and in whatever format."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from registry.client.unread import Reading, readings
from registry.protocol.index import (
    COMPACT,
    GAEN_ZIP,
    Index,
    IndexDay,
    IndexFile,
    IndexWindow,
    decode_index,
    encode_index,
    export_name,
)

HOUR = 3600


def _files(start: int, end: int, zips: int, *, daily: bool = False) -> tuple[IndexFile, ...]:
    named = [(export_name("XA", start, end, n + 1, daily=daily), GAEN_ZIP) for n in range(zips)]
    if zips:
        named.append((export_name("XA", start, end, 1, form=COMPACT, daily=daily), COMPACT))
    digests = [f"{start:032x}{2 * number + daily:032x}" for number in range(len(named))]
    return tuple(
        IndexFile(path, digest, 100, form) for (path, form), digest in zip(named, digests, strict=True)
    )


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """A few days of four windows, each with no file, or some zips and a compact one."""
    zips = draw(st.lists(st.integers(0, 2), min_size=1, max_size=24))
    windows: list[IndexWindow] = []
    for number, count in enumerate(zips, start=1):
        start, end = number * HOUR, (number + 1) * HOUR
        if not count and windows and not windows[-1].files:
            windows[-1] = replace(windows[-1], last_sequence=number, end=end)
        else:
            windows.append(IndexWindow(number, number, start, end, _files(start, end, count)))
    days = []
    for first in range(1, len(zips) - 2, 4):
        if any(zips[first - 1 : first + 3]) and draw(st.booleans()):
            start, end = first * HOUR, (first + 4) * HOUR
            files = _files(start, end, draw(st.integers(1, 2)), daily=True)
            days.append(IndexDay(first, first + 3, start, end, files))
    now = (len(zips) + 1) * HOUR
    index = Index("XA", len(zips), now, now + HOUR, now + 2 * HOUR, tuple(windows), days=tuple(days))
    return decode_index(encode_index(index))


def _windows_in(index: Index, reading: Reading) -> set[int]:
    """Which windows with files a reading stands for."""
    return {
        window.sequence
        for window in index.windows
        if window.files and reading.span.sequence <= window.sequence <= reading.span.last_sequence
    }


def _digests(reading: Reading) -> set[str]:
    return {file.sha256 for file in reading.files}


@given(indexes())
def test_a_new_phone_reads_every_window_once_and_days_as_a_whole(index: Index) -> None:
    plan = readings(index, ())
    stood_for = [number for reading in plan for number in _windows_in(index, reading)]
    assert sorted(stood_for) == [window.sequence for window in index.windows if window.files]
    assert {file.format for reading in plan for file in reading.files} <= {COMPACT}
    assert [reading.span.start for reading in plan] == sorted(reading.span.start for reading in plan)
    for day in index.days:
        with_files = [w for w in index.windows if w.files and day.sequence <= w.sequence <= day.last_sequence]
        assert any(reading.span == day for reading in plan) == (len(with_files) > 1)


@given(indexes(), st.data())
def test_whatever_fails_nothing_is_missed_or_read_twice(index: Index, data: st.DataObject) -> None:
    """Files fail by draw; what is done instead is read as `files` does it, poll after poll."""
    broken = data.draw(st.sets(st.sampled_from(sorted(_all(index)) or ["none"])))
    read: set[str] = set()
    fetched: list[str] = []
    had: set[int] = set()
    for faulty in (broken, set[str]()):
        plan = readings(index, read)
        while plan:
            reading = plan.pop(0)
            good = _digests(reading) - faulty
            fetched += sorted(good)
            read |= good
            if good == _digests(reading):
                read |= reading.covers.keys()
                had |= _windows_in(index, reading)
            else:
                plan[:0] = reading.otherwise
    assert len(fetched) == len(set(fetched))
    assert had == {window.sequence for window in index.windows if window.files}
    assert readings(index, read) == []


@given(indexes(), st.data())
def test_a_window_of_which_one_format_was_read_is_read(index: Index, data: st.DataObject) -> None:
    read: set[str] = set()
    for window in index.windows:
        form = data.draw(st.sampled_from([COMPACT, GAEN_ZIP]))
        read |= {file.sha256 for file in window.files if file.format == form}
    assert readings(index, read) == []


@given(indexes())
def test_what_was_begun_is_read_to_its_end(index: Index) -> None:
    """One of two zips is there: the other is all that is missing."""
    without_days = replace(index, days=())
    begun = {window.files[0].sha256 for window in index.windows if len(window.files) == 3}
    for reading in readings(without_days, begun):
        if len(reading.span.files) == 3:
            assert reading.files == reading.span.files[1:2]


def test_who_polls_all_the_time_does_not_fetch_all_of_yesterday_for_its_last_hours() -> None:
    """But who was away fetches days, and asks no more often than there are days."""
    windows = []
    for number in range(1, 13):
        start, end = number * HOUR, (number + 1) * HOUR
        files = tuple(replace(file, size=50_000) for file in _files(start, end, 1))
        windows.append(IndexWindow(number, number, start, end, files))
    days = []
    for first in (1, 7):
        start, end = windows[first - 1].start, windows[first + 4].end
        files = tuple(replace(file, size=290_000) for file in _files(start, end, 1, daily=True))
        days.append(IndexDay(first, first + 5, start, end, files))
    index = Index("XA", 12, 13 * HOUR, 14 * HOUR, 15 * HOUR, tuple(windows), days=tuple(days))

    def spans(*read: int) -> list[tuple[int, int]]:
        digests = {file.sha256 for number in read for file in windows[number - 1].files}
        plan = readings(decode_index(encode_index(index)), digests)
        return [(reading.span.sequence, reading.span.last_sequence) for reading in plan]

    assert spans(*range(1, 10)) == [(10, 10), (11, 11), (12, 12)]
    assert spans(1, 2, 3) == [(1, 6), (7, 12)]
    assert spans(*range(1, 7)) == [(7, 12)]


def _all(index: Index) -> set[str]:
    return {file.sha256 for span in (*index.windows, *index.days) for file in span.files}
