"""Releasable keys come out once, signed, in their window, in an index that says so and nothing else."""

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.publish.key_days import make_due_days
from registry.models import BatchState, Shelf, transaction
from registry.protocol.index import legacy_index_path
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import ReportType
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import DAY, HOUR, NOON, REGION, Publishing, fourteen_days_of_keys, in_memory, key_ending

# ------------------------------------------------------------- which keys, and when


def test_of_twelve_uploads_the_ended_keys_come_at_once_and_todays_after_their_time(stage: Publishing) -> None:
    draw = random.Random(12)
    people = [fourteen_days_of_keys(draw, stage.clock()) for _ in range(12)]
    for keys in people:
        stage.collect(keys)
    ended = {(key.key_data, False) for keys in people for key in keys[1:]}
    todays = {(keys[0].key_data, False) for keys in people}

    outcome = stage.publish()
    assert [batch.key_count for batch in outcome.batches] == [12 * 13]
    assert stage.published() == dict.fromkeys(ended, 1)

    # Today's keys end at midnight. Two hours later, and not a second before, they may go.
    stage.clock.advance(14 * HOUR - 1)
    stage.publish()
    assert stage.published() == dict.fromkeys(ended, 1)
    stage.clock.advance(1)
    stage.publish()
    assert stage.published() == dict.fromkeys(ended | todays, 1)
    stage.check_agreement()


def test_a_key_that_ended_exactly_two_hours_before_the_windows_end_goes(stage: Publishing) -> None:
    due, early = key_ending(NOON - 12, 1), key_ending(NOON - 11, 2)
    stage.collect([due, early])
    stage.publish()
    assert set(stage.published()) == {(due.key_data, False)}


def test_an_upload_that_commits_late_falls_into_the_next_batch(stage: Publishing) -> None:
    key = key_ending(NOON - 144, 1)
    if stage.engine.dialect.name == "sqlite":
        stage.publish()  # one writer at a time: it cannot hang open while a batch is sealed
        stage.collect([key])
    else:
        with stage.new_session() as session:
            make_due_days(session, stage.clock())  # as a publisher has done before any upload comes
        with stage.new_session() as hanging:
            stage.collect([key], session=hanging)
            stage.publish()
            hanging.commit()
    assert stage.published() == {}
    stage.clock.advance(HOUR)
    stage.publish()
    assert stage.published() == {(key.key_data, False): 1}


def test_a_wrong_release_time_delays_and_never_leaks(stage: Publishing) -> None:
    key = key_ending(NOON, 1)
    stage.collect([key])
    with transaction(stage.new_session()) as session:
        session.execute(update(Shelf).values(releasable_at=0))
    stage.clock.advance(HOUR)
    stage.publish()
    assert stage.published() == {}
    stage.clock.advance(HOUR)
    stage.publish()
    assert stage.published() == {(key.key_data, False): 1}


def test_each_region_publishes_its_own_keys_and_a_bystander_none(stage: Publishing) -> None:
    here, both, there = (key_ending(NOON - 144, number) for number in (1, 2, 3))
    stage.collect([here], regions=["XA"])
    stage.collect([both], regions=["XA", "XB"])
    stage.collect([there], regions=["XB"])
    stage.publish(regions=["XA", "XB", "XC"])
    assert set(stage.published("XA")) == {(here.key_data, False), (both.key_data, False)}
    assert set(stage.published("XB")) == {(both.key_data, False), (there.key_data, False)}
    assert stage.published("XC") == {}
    assert stage.names("XC") == []


def test_a_revised_key_goes_out_as_revised_with_the_risk_it_had(stage: Publishing) -> None:
    key = key_ending(NOON - 144, 7)
    stage.collect([key])
    stage.publish()
    stage.revise(key, ReportType.REVOKED, 4)
    stage.clock.advance(HOUR)
    stage.publish()
    first, second = stage.files()
    assert (first.keys, first.revised_keys) == ((key,), ())
    revised = replace(key, report_type=ReportType.REVOKED, days_since_onset_of_symptoms=4)
    assert (second.keys, second.revised_keys) == ((), (revised,))


# ------------------------------------------------------------------------- windows


def test_a_window_without_keys_is_a_batch_without_a_file(stage: Publishing) -> None:
    for _ in range(3):
        assert stage.publish().windows_sealed == 1
        stage.clock.advance(HOUR)
    assert [(batch.sequence, batch.state, batch.newest_key_end) for batch in stage.batches()] == [
        (number, BatchState.PUBLISHED, None) for number in (1, 2, 3)
    ]
    (run,) = stage.index().windows
    assert (run.sequence, run.last_sequence, run.end - run.start, run.files) == (1, 3, 3 * HOUR, ())
    assert stage.fetch(legacy_index_path(REGION)) == b""


def test_after_downtime_one_batch_covers_the_gap(stage: Publishing) -> None:
    stage.publish()
    stage.collect([key_ending(NOON + 12 * hour, hour) for hour in range(10)])
    stage.clock.advance(3 * DAY + 120)
    assert stage.publish().windows_sealed == 1
    first, second = stage.batches()
    assert (second.window_start, second.window_end) == (first.window_end, int(NOON_OF_JUNE_15) + 3 * DAY)
    assert sum(stage.published().values()) == 10


def test_when_the_clock_is_set_back_nothing_is_sealed_until_it_has_caught_up(stage: Publishing) -> None:
    stage.publish()
    stage.collect([key_ending(NOON - 144, 1)])
    stage.clock.advance(-5 * HOUR)
    for hour in range(5):
        outcome = stage.publish()
        assert (outcome.windows_sealed, outcome.clock_behind) == (0, True), hour
        stage.clock.advance(HOUR)
    outcome = stage.publish()  # in the window that was sealed last, all is well
    assert (outcome.windows_sealed, outcome.clock_behind) == (0, False)
    stage.clock.advance(HOUR)
    outcome = stage.publish()
    assert (outcome.windows_sealed, outcome.clock_behind) == (1, False)
    assert len(stage.published()) == 1


def test_a_clock_that_is_behind_the_log_seals_nothing_in_any_region(stage: Publishing) -> None:
    stage.clock.advance(DAY)
    stage.publish(regions=["XB"])
    stage.clock.advance(-DAY)
    outcome = stage.publish(regions=["XA", "XB", "XC"])
    assert (outcome.windows_sealed, outcome.clock_behind) == (0, True), "nothing that could not be logged"


steps = st.lists(
    st.tuples(
        st.integers(-2 * HOUR, 7 * HOUR),
        st.lists(st.integers(-30 * 6, 6), max_size=4),
        st.sampled_from([600, 900, HOUR, 4 * HOUR]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_windows_touch_and_every_key_comes_once_after_its_embargo(
    steps: list[tuple[int, list[int], int]],
) -> None:
    """Whatever the publisher's times, the clock's jumps, changed windows and the keys that came between."""
    stage = in_memory()
    collected: dict[bytes, int] = {}
    latest = stage.clock()
    for seconds, offsets, window_seconds in steps:
        keys = [
            key_ending(interval_at(stage.clock()) + offset, len(collected) + number)
            for number, offset in enumerate(offsets)
        ]
        stage.collect(keys)
        collected |= {key.key_data: key.end_interval_number for key in keys}
        stage.clock.advance(seconds)
        latest = max(latest, stage.clock())
        stage.publish(policy=PublicationPolicy(window_seconds))
        for window in stage.batches():
            assert window.window_end <= latest, "no window ends in the future"
    for file in stage.files():
        for key in file.keys:
            assert key.end_interval_number + EMBARGO_INTERVALS <= interval_at(file.end_timestamp)
    stage.clock.advance(latest - stage.clock() + 8 * HOUR)
    stage.publish()
    windows = stage.batches()
    assert [window.sequence for window in windows] == list(range(1, len(windows) + 1))
    for before, after in pairwise(windows):
        assert before.window_end == after.window_start
        assert before.window_end > before.window_start
    assert stage.published() == dict.fromkeys(((key, False) for key in collected), 1)
    stage.check_agreement()
