"""Charts: every bar stands on the ground or on another, none is higher than the axis, tables say the same."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from registry.faces.pages.charts import MOST_DAYS, PLOT_HEIGHT, STEP, Chart, Series, days_to, median, round_up

TODAY = date(2026, 6, 15)
values = st.floats(min_value=0, max_value=1e9, allow_nan=False)


@st.composite
def charts(draw: st.DrawFn) -> Chart:
    days = days_to(TODAY, TODAY - timedelta(days=draw(st.integers(0, 80))))
    column = st.lists(values, min_size=len(days), max_size=len(days)).map(tuple)
    series = tuple(Series(f"series {n}", draw(column)) for n in range(draw(st.integers(1, 3))))
    return Chart("name", "title", "summary", days, series, str, is_stacked=draw(st.booleans()))


@given(charts())
def test_every_bar_lies_within_the_drawing(chart: Chart) -> None:
    for bar in chart.bars():
        assert 0 <= bar.x < bar.x + bar.width <= chart.width
        assert -0.01 <= bar.y <= bar.y + bar.height <= PLOT_HEIGHT + 0.01


@given(charts())
def test_no_day_and_no_value_above_zero_is_left_out(chart: Chart) -> None:
    assert len(chart.bars()) == sum(value > 0 for one in chart.series for value in one.values)
    assert [day for day, _ in chart.rows()] == list(chart.days[::-1])
    newest = [str(one.values[-1]) for one in chart.series]
    assert chart.rows()[0][1] == newest


def test_stacked_bars_stand_upon_each_other() -> None:
    series = (Series("with", (2.0,)), Series("without", (3.0,)))
    lower, upper = Chart("n", "t", "s", (TODAY,), series, str).bars()
    assert (lower.y, lower.height) == (60.0, 40.0)
    assert upper.y + upper.height == lower.y
    assert upper.height == 60.0


def test_bars_that_are_not_stacked_stand_before_each_other_on_the_ground() -> None:
    series = (Series("all", (4.0,)), Series("largest", (1.0,)))
    behind, before = Chart("n", "t", "s", (TODAY,), series, str, is_stacked=False).bars()
    assert behind.y + behind.height == before.y + before.height == PLOT_HEIGHT
    assert behind.x < before.x
    assert before.x + before.width < behind.x + behind.width <= STEP


@given(values)
def test_the_axis_ends_at_a_round_number_that_is_not_far_above(value: float) -> None:
    top = round_up(value)
    assert top >= value
    assert top in {1, 2, 5} or top % 10 == 0
    assert value <= 1 or top <= 2.5 * value


def test_days_end_with_the_last_and_are_no_more_than_can_be_seen() -> None:
    assert days_to(TODAY, None) == ()
    assert days_to(TODAY, TODAY) == (TODAY,)
    assert len(days_to(TODAY, TODAY - timedelta(days=400))) == MOST_DAYS
    assert days_to(TODAY, TODAY - timedelta(days=2))[0] == date(2026, 6, 13)


def test_the_median_is_in_the_middle() -> None:
    assert (median([]), median([3]), median([9, 1, 5]), median([1, 2, 10, 20])) == (0, 3, 5, 6)
