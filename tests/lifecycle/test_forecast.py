"""The quota of a day by the days before it: robust, by weekday, and quick to rise."""

from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.forecast import HISTORY_DAYS, LEAST_HISTORY_DAYS, ForecastBounds, forecast_quota

BOUNDS = ForecastBounds(start=2000, least=200, most=20_000)
WORKING_WEEK = (1000, 1000, 1000, 1000, 1000, 300, 100)
"""From Monday on."""
counts = st.lists(st.integers(0, 1_000_000), max_size=HISTORY_DAYS + 20)


def weeks(number: int, week: tuple[int, ...] = WORKING_WEEK) -> list[int]:
    """Eight such weeks end on a Sunday: the next day is a Monday."""
    return list(islice(cycle(week), 7 * number))


@given(counts)
def test_it_is_never_below_the_least_nor_above_the_most(issued: list[int]) -> None:
    assert BOUNDS.least <= forecast_quota(issued, BOUNDS) <= BOUNDS.most


@given(st.lists(st.integers(0, 3), max_size=LEAST_HISTORY_DAYS - 1))
def test_who_has_no_history_begins_with_the_start(issued: list[int]) -> None:
    assert forecast_quota(issued, BOUNDS) == BOUNDS.start
    assert forecast_quota([0] * HISTORY_DAYS + issued, BOUNDS) == BOUNDS.start, "silence is no history"


@given(st.integers(20, 5000))
def test_the_first_weeks_may_be_busy_too(busy: int) -> None:
    assert forecast_quota([busy] * 3, BOUNDS) == max(BOUNDS.start, min(2 * busy, BOUNDS.most))


@given(st.lists(st.integers(200, 5000), min_size=7, max_size=7))
def test_an_even_life_has_twice_what_its_weekday_needs(week: list[int]) -> None:
    for today in range(7):
        issued = weeks(8, tuple(week))[:-7] + week[:today] if today else weeks(8, tuple(week))
        assert forecast_quota(issued, BOUNDS) >= min(2 * week[today], BOUNDS.most)


def test_a_weekend_does_not_lower_its_monday() -> None:
    assert forecast_quota(weeks(8), BOUNDS) == 2000
    assert forecast_quota(weeks(8)[:-2], BOUNDS) == 1000, "a Saturday: half of a middle day, twice"


@given(st.integers(0, HISTORY_DAYS - 8), st.sampled_from([0, 50_000]))
def test_one_holiday_or_one_rush_changes_nothing_later(day: int, odd: int) -> None:
    issued = weeks(8)
    issued[day] = odd
    assert forecast_quota(issued, BOUNDS) == forecast_quota(weeks(8), BOUNDS)


def test_a_week_of_holidays_does_not_lower_the_week_after() -> None:
    assert forecast_quota(weeks(7) + [0] * 7, BOUNDS) == forecast_quota(weeks(8), BOUNDS)


def test_a_doubling_raises_it_within_three_days_and_a_single_day_does_not() -> None:
    calm = weeks(8)
    before = forecast_quota(calm, BOUNDS)
    doubled = [2 * n for n in WORKING_WEEK]
    assert forecast_quota(calm + doubled[:1], BOUNDS) == before
    assert forecast_quota(calm + doubled[:3], BOUNDS) >= 2 * before
    assert forecast_quota(calm + doubled, BOUNDS) >= 2 * before, "nor does the weekend take it back"


def test_what_doubles_every_week_keeps_fitting() -> None:
    issued = weeks(4, (100,) * 7)
    for week in range(1, 7):
        for _day in range(7):
            needed = 100 * 2**week
            quota = forecast_quota(issued, BOUNDS)
            if _day >= 3:
                assert quota >= needed, (week, _day)
            issued.append(needed)


def test_the_first_sunday_that_is_worked_is_not_refused() -> None:
    closed = (1000, 1000, 1000, 1000, 1000, 0, 0)
    assert forecast_quota(weeks(8, closed)[:-1], BOUNDS) == 1000
