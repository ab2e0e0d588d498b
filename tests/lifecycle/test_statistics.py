"""Figures of codes: counted at the claim in bins, let go once when their day is over, and never again."""

from datetime import date
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.lifecycle.authorize import rounded_expiry
from registry.lifecycle.retire import retire_issuing
from registry.lifecycle.statistics import (
    ALL,
    DELAY_BINS,
    LONGER,
    count_certified,
    count_redeemed,
    count_sms_error,
    delay_bin,
    due_days,
    figures,
    issued,
    issued_by_api_key,
    last_day_over,
    release_claims,
    sms_errors,
)
from registry.models import ClaimCount, ReleasedFigures, SmsErrorCount, transaction
from tests.authority import AUTHORITY
from tests.clock import FakeClock
from tests.lifecycle.test_certify import Desk

HOUR, DAY = 3600, 86_400
JUNE_15 = date(2026, 6, 15)


@pytest.fixture
def desk(issuing_url: str, issuing_session: Session, clock: FakeClock) -> Desk:
    return Desk(issuing_url, issuing_session, clock)


def counted(session: Session) -> dict[tuple[str, str], int]:
    session.rollback()
    return {(row.name, row.cell): row.n for row in session.scalars(select(ClaimCount))}


def released(desk: Desk, now: float) -> dict[date, dict[str, dict[str, int]]]:
    with transaction(desk.session):
        release_claims(desk.session, now, random_below=Random(1).randrange)
    return figures(desk.session, AUTHORITY, date(2026, 1, 1), date(2027, 1, 1))


def many(desk: Desk, redeemed: int, certified: int) -> None:
    with transaction(desk.session):
        for _ in range(redeemed):
            count_redeemed(
                desk.session,
                AUTHORITY,
                expires_at=int(desk.clock()) + DAY,
                life_seconds=DAY,
                now=desk.clock(),
            )
        for _ in range(certified):
            count_certified(desk.session, AUTHORITY, desk.clock())


@given(st.integers(0, DAY), st.integers(0, 2 * DAY))
def test_a_delay_is_never_in_too_early_a_bin_and_at_most_a_quarter_too_late(issue: int, delay: int) -> None:
    issued_at = 1_781_481_600 + issue
    name = delay_bin(rounded_expiry(issued_at, DAY), DAY, issued_at + delay)
    bounds = list(DELAY_BINS.values())
    upper = DELAY_BINS.get(name, 10**9)
    lower = ([0, *bounds] if name == LONGER else [0, *bounds[: bounds.index(upper)]])[-1]
    assert lower - 900 < delay <= upper or (lower, delay) == (0, 0)


def test_a_claim_is_counted_once_and_a_refusal_never(desk: Desk) -> None:
    codes = [desk.code() for _ in range(3)]
    token = desk.verify(codes[0]).token
    desk.verify(codes[0])  # repeated
    desk.certify(token)
    desk.certify(token)
    desk.clock.advance(2 * HOUR - 900)
    desk.verify(codes[1])
    found = counted(desk.session)
    assert found["certified", ALL] == 1
    assert {cell: n for (name, cell), n in found.items() if name == "delay"} == {"15m": 1, "2h": 1}


def test_nothing_leaves_before_its_day_is_over(desk: Desk) -> None:
    many(desk, 500, 400)
    assert JUNE_15 not in released(desk, desk.clock())
    desk.clock.advance(12 * HOUR + HOUR - 1)
    assert JUNE_15 not in released(desk, desk.clock())
    assert last_day_over(desk.clock()) == date(2026, 6, 14)
    assert counted(desk.session)["certified", ALL] == 400
    desk.clock.advance(1)
    day = released(desk, desk.clock())[JUNE_15]
    assert abs(day["redeemed"][ALL] - 500) < 60
    assert abs(day["certified"][ALL] - 400) < 60
    assert day["delay"].keys() == {"15m"}, "a bin of one kind and eight empty ones"
    assert counted(desk.session) == {}, "the exact number is nowhere any more"


def test_the_same_figures_for_ever(desk: Desk) -> None:
    many(desk, 100, 80)
    first = released(desk, desk.clock() + 2 * DAY)
    for _ in range(3):
        many(desk, 50, 50)  # a clock that went back: too late for that day
        again = released(desk, desk.clock() + 2 * DAY)
        assert again == first
    assert counted(desk.session) == {}


def test_what_is_small_is_hidden_and_stays_hidden(desk: Desk) -> None:
    many(desk, 3, 4)
    with transaction(desk.session):
        release_claims(desk.session, desk.clock() + DAY, random_below=Random(1).randrange)
    for days in (1, 2, 30, 300):
        with transaction(desk.session):
            release_claims(desk.session, desk.clock() + days * DAY)
        day = figures(desk.session, AUTHORITY, JUNE_15, JUNE_15)[JUNE_15]
        assert "redeemed" in day
        assert day["redeemed"] == day["certified"] == day["delay"] == {}


def test_every_day_has_figures_whether_or_not_anything_happened(desk: Desk) -> None:
    desk.clock.advance(DAY)
    quiet = released(desk, desk.clock())
    assert quiet.keys() == {JUNE_15}
    desk.clock.advance(3 * DAY)
    assert [day.day for day in released(desk, desk.clock())] == [15, 16, 17, 18]


@given(st.integers(0, 400))
def test_days_are_made_up_for_in_order_and_not_for_ever(behind: int) -> None:
    days = due_days(date.fromordinal(JUNE_15.toordinal() - behind), JUNE_15)
    assert days == [
        date.fromordinal(JUNE_15.toordinal() - back) for back in range(min(behind, 31) - 1, -1, -1)
    ]


def test_codes_that_ended_unused(desk: Desk) -> None:
    codes = [desk.code() for _ in range(40)]
    desk.verify(codes[0])
    desk.clock.advance(3 * DAY)
    with transaction(desk.session):
        release_claims(desk.session, desk.clock() - 2 * DAY)  # so that there is a day to go on from
        release_claims(desk.session, desk.clock())
    found = figures(desk.session, AUTHORITY, JUNE_15, date(2026, 6, 17))
    assert abs(found[date(2026, 6, 16)]["expired"][ALL] - 39) < 30
    assert found[date(2026, 6, 17)].get("expired", {}).get(ALL, 0) < 39 - 10


def test_officials_acts_are_exact(desk: Desk) -> None:
    for _ in range(3):
        desk.code()
    assert issued(desk.session, AUTHORITY, JUNE_15, JUNE_15) == {JUNE_15: 3}
    assert issued(desk.session, "another", JUNE_15, JUNE_15) == {}
    assert issued_by_api_key(desk.session, AUTHORITY, JUNE_15, JUNE_15, b"\0" * 32) == []


def test_refused_messages_are_counted_by_the_gateways_code(desk: Desk) -> None:
    with transaction(desk.session):
        for code in ("30007", "30007", "x" * 40):
            count_sms_error(desk.session, AUTHORITY, code, desk.clock())
    found = [(row.issuer, row.n) for row in sms_errors(desk.session, AUTHORITY, JUNE_15, JUNE_15)]
    assert found == [("30007", 2), ("x" * 32, 1)]


def test_figures_go_after_a_year(desk: Desk) -> None:
    many(desk, 1, 1)
    with transaction(desk.session):
        count_sms_error(desk.session, AUTHORITY, "30007", desk.clock())
    released(desk, desk.clock() + DAY)
    with transaction(desk.session):
        assert retire_issuing(desk.session, desk.clock() + 364 * DAY).figures == 0
        assert retire_issuing(desk.session, desk.clock() + 365 * DAY).figures == 5
    assert desk.session.scalars(select(ReleasedFigures)).all() == []
    assert desk.session.scalars(select(SmsErrorCount)).all() == []
