"""From exposures to a risk: the horizon and revocations."""

from datetime import date, timedelta

import pytest

from registry.client.match import Exposure
from registry.client.risk import Risk, assess
from registry.protocol.keys import ReportType
from tests.clock import NOON_OF_JUNE_15

TODAY = date(2026, 6, 15)


def exposure(days_ago: int, *, withdrawn: bool = False) -> Exposure:
    day = TODAY - timedelta(days=days_ago)
    return Exposure(days_ago.to_bytes(16, "big", signed=True), day, ReportType.CONFIRMED_TEST, 1, withdrawn)


@pytest.mark.parametrize(("days_ago", "counts"), [(-1, True), (0, True), (14, True), (15, False)])
def test_days_from_a_fortnight_ago_count(days_ago: int, counts: bool) -> None:
    risk = assess([exposure(days_ago)], now=NOON_OF_JUNE_15)
    assert (risk.exposed_on is not None) == counts


def test_the_latest_day_is_shown() -> None:
    assert assess([exposure(9), exposure(3), exposure(5)], now=NOON_OF_JUNE_15).exposed_on == date(
        2026, 6, 12
    )


def test_a_withdrawn_match_does_not_count_but_is_told() -> None:
    risk = assess([exposure(3, withdrawn=True), exposure(8)], now=NOON_OF_JUNE_15)
    assert risk == Risk(date(2026, 6, 7), (date(2026, 6, 12),))


def test_a_day_on_which_another_match_still_counts_is_not_withdrawn() -> None:
    other = Exposure(b"x" * 16, TODAY, ReportType.CONFIRMED_TEST, 1)
    assert assess([exposure(0, withdrawn=True), other], now=NOON_OF_JUNE_15) == Risk(TODAY)


def test_no_exposures_no_risk() -> None:
    assert assess([], now=NOON_OF_JUNE_15) == Risk(None)
