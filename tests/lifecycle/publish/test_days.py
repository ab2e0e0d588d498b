"""A closed day's file holds what its windows held; windows keep theirs; a phone may take either."""

import pytest

from registry.errors import PublishingFailed
from registry.lifecycle.publish.withdraw import withdraw_batch
from registry.protocol.index import EXPOSURES, GAEN_ZIP
from registry.protocol.keys import ReportType
from tests.publishing import DAY, HOUR, NOON, REGION, FailingStorage, Publishing, key_ending


def a_day(stage: Publishing, *hours: int) -> None:
    """From noon to midnight, hour by hour; an upload of two keys before each of these hours' ends."""
    for hour in range(12):
        if hour in hours:
            stage.collect([key_ending(NOON - 144 * day, 10 * hour + day) for day in (1, 2)])
        stage.publish()
        stage.clock.advance(HOUR)


def test_when_a_day_is_closed_one_file_holds_what_its_windows_held(stage: Publishing) -> None:
    a_day(stage, 0, 3, 7)
    assert stage.index().days == ()
    before = stage.names()
    stage.publish()  # at midnight
    (day,) = stage.index().days
    windows = stage.index().windows
    assert (day.sequence, day.last_sequence) == (1, 13)
    assert (day.start, day.end) == (windows[0].start, stage.clock() // DAY * DAY)
    assert sum(stage.held(day.files).values()) == 6
    assert stage.names() == before, "no entry of index.txt ever changes"
    (zipped,) = [file.path for file in day.files if file.format == GAEN_ZIP]
    assert stage.fetch(f"{EXPOSURES}/{REGION}/daily/index.txt") == zipped.encode()
    stage.check_agreement()
    again = {name: stage.fetch(name) for name in stage.storage.names("")}
    stage.publish()
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == again


def test_a_day_without_keys_has_no_file(stage: Publishing) -> None:
    a_day(stage)
    stage.publish()
    assert stage.index().days == ()
    assert stage.fetch(f"{EXPOSURES}/{REGION}/daily/index.txt") == b""


def test_a_key_that_came_and_was_revised_on_one_day_stands_in_both_lists(stage: Publishing) -> None:
    key = key_ending(NOON - 144, 1)
    stage.collect([key])
    stage.publish()
    stage.revise(key, ReportType.REVOKED)
    stage.clock.advance(12 * HOUR)
    stage.publish()
    (day,) = stage.index().days
    assert sorted(is_revision for _, is_revision in stage.held(day.files)) == [False, True]


def test_days_follow_each_other_over_downtime(stage: Publishing) -> None:
    """The window that covers a gap belongs to the day in which it ends."""
    a_day(stage, 1)
    stage.publish()
    stage.collect([key_ending(NOON - 288, 500)])
    stage.clock.advance(2 * DAY + 5 * HOUR)
    stage.publish()
    stage.clock.advance(DAY)
    stage.publish()
    first, second = stage.index().days
    assert (second.sequence, second.start) == (first.last_sequence + 1, first.end)
    assert second.end - second.start > 2 * DAY
    stage.check_agreement()


def test_a_day_with_a_withdrawn_window_is_taken_away_and_not_made_again(stage: Publishing) -> None:
    a_day(stage, 1, 4)
    stage.publish()
    (day,) = stage.index().days
    withdraw_batch(stage.new_session, region=REGION, sequence=2, reason="wrong_keys", reference="x")
    stage.publish()
    assert stage.index().days == ()
    assert [stage.storage.read(f"{EXPOSURES}/{file.path}") for file in day.files] == [None, None]
    stage.publish()
    assert stage.index().days == ()
    assert len(stage.published()) == 2
    stage.check_agreement()


def test_days_are_retired_with_their_keys(stage: Publishing) -> None:
    a_day(stage, 1)
    stage.publish()
    (day,) = stage.index().days
    stage.clock.advance(21 * DAY)
    stage.retire()
    assert stage.index().days == ()
    assert [stage.storage.read(f"{EXPOSURES}/{file.path}") for file in day.files] == [None, None]


def test_a_fault_over_a_days_file_is_mended_by_the_next_run(stage: Publishing) -> None:
    a_day(stage, 1)
    broken = FailingStorage(stage.storage, lambda _call, path: "/daily/1" in path, OSError(28, "full"))
    with pytest.raises(PublishingFailed):
        stage.publish(storage=broken)
    stage.clock.advance(HOUR)
    stage.publish()
    assert len(stage.index().days) == 1
    stage.check_agreement()
