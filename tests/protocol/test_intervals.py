"""Interval numbers: the one published answer, and what holds for every moment."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.intervals import (
    INTERVAL_SECONDS,
    INTERVALS_PER_DAY,
    LAST_INTERVAL,
    ceil_to_hour,
    date_of_interval,
    day_start,
    interval_at,
    interval_of_date,
    seconds_at,
    utc_date,
)

moments = st.floats(min_value=0, max_value=4e9)
intervals = st.integers(0, LAST_INTERVAL)


def test_the_published_answer() -> None:
    assert interval_at(1585785600) == 2642976
    assert date_of_interval(2642976) == date(2020, 4, 2)
    assert interval_of_date(date(2020, 4, 2)) == 2642976


def test_an_interval_lasts_until_the_last_moment_before_the_next() -> None:
    assert interval_at(599.999) == 0
    assert interval_at(600) == 1


@given(moments)
def test_a_moment_lies_in_its_interval(moment: float) -> None:
    interval = interval_at(moment)
    assert seconds_at(interval) <= moment < seconds_at(interval) + INTERVAL_SECONDS


@given(moments)
def test_interval_and_calendar_agree_on_the_day(moment: float) -> None:
    assert (
        date_of_interval(interval_at(moment))
        == utc_date(moment)
        == datetime.fromtimestamp(moment, UTC).date()
    )


@given(intervals)
def test_a_day_starts_at_midnight(interval: int) -> None:
    start = day_start(interval)
    assert start <= interval < start + INTERVALS_PER_DAY
    assert interval_of_date(date_of_interval(interval)) == start


@given(intervals)
def test_rounding_up_to_an_hour_never_goes_back_nor_a_whole_hour_on(interval: int) -> None:
    rounded = ceil_to_hour(interval)
    assert seconds_at(rounded) % 3600 == 0
    assert interval <= rounded < interval + 6


@pytest.mark.parametrize("interval", [-1, LAST_INTERVAL + 1, 2**31 - 1, 2**63])
def test_numbers_without_a_date(interval: int) -> None:
    with pytest.raises(Malformed):
        date_of_interval(interval)


def test_the_last_date_there_is() -> None:
    assert date_of_interval(LAST_INTERVAL) == date.max
