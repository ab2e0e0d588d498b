"""Figures that look odd, by name: far above the own days or the colleagues', or far too few codes used."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry.lifecycle.oddities import few_used, is_far_above, many_codes
from registry.models import Authority, Authorization, Official, QuotaUse, VerificationCode, transaction
from tests.clock import FakeClock

AUTHORITY = "org.example.health"
TODAY = date(2026, 6, 15)
DAY = 86_400


@pytest.fixture
def session(issuing_session: Session) -> Session:
    """Two authorities with an official each by the numbers 1 to 4, the fourth of the neighbour."""
    with transaction(issuing_session):
        for authority_id in (AUTHORITY, "org.example.neighbour"):
            issuing_session.add(
                Authority(id=authority_id, name="x", certificate_issuer="x", certificate_audience="x")
            )
        issuing_session.flush()
        for number in (1, 2, 3, 4):
            authority_id = AUTHORITY if number < 4 else "org.example.neighbour"
            issuing_session.add(
                Official(id=f"o-{number}", authority_id=authority_id, name=f"Official {number}")
            )
    return issuing_session


def issued(session: Session, number: int, counts: Sequence[int]) -> None:
    """So many codes on each day, today's last."""
    with transaction(session):
        for back, n in enumerate(reversed(counts)):
            session.add(
                QuotaUse(
                    authority_id=AUTHORITY if number < 4 else "org.example.neighbour",
                    issuer=f"official:o-{number}",
                    day=TODAY - timedelta(days=back),
                    n=n,
                    most=1000,
                )
            )


def names(session: Session, clock: FakeClock) -> list[tuple[str, int]]:
    session.rollback()
    return [(odd.name, odd.n) for odd in many_codes(session, AUTHORITY, clock())]


def test_a_day_far_above_the_own_days_is_named_for_two_days(session: Session, clock: FakeClock) -> None:
    issued(session, 1, [8, 10, 9, 11, 10, 8, 9, 10, 12, 10, 90])
    issued(session, 2, [8, 10, 9, 11, 10, 8, 9, 10, 12, 10, 14])
    assert names(session, clock) == [("Official 1", 90)]
    clock.advance(DAY)
    assert names(session, clock) == [("Official 1", 90)]
    clock.advance(DAY)
    assert names(session, clock) == []


def test_who_is_new_is_held_against_the_colleagues(session: Session, clock: FakeClock) -> None:
    issued(session, 1, [30])
    assert names(session, clock) == [], "nobody to compare with"
    issued(session, 4, [1] * 20)
    assert names(session, clock) == [], "nor are another authority's people"
    issued(session, 2, [3, 4, 5, 4, 3, 4, 5, 4, 3, 4])
    (odd,) = many_codes(session, AUTHORITY, clock())
    assert (odd.name, odd.n, odd.usual, odd.is_against_own) == ("Official 1", 30, 4, False)


def test_who_always_issues_many_is_not_odd(session: Session, clock: FakeClock) -> None:
    issued(session, 1, [400] * 11 + [410])
    issued(session, 2, [3] * 12)
    assert names(session, clock) == []


@given(st.integers(0, 19), st.lists(st.integers(0, 100), max_size=60))
def test_fewer_than_twenty_are_never_odd(n: int, days: list[int]) -> None:
    assert not is_far_above(n, days)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60))
def test_no_single_rush_of_the_past_hides_one_of_today(days: list[int]) -> None:
    worst = 10 * max(days) + 100
    assert is_far_above(worst, days)
    if len(days) > 10:
        assert is_far_above(worst, [*days, 10_000])


def ended(session: Session, number: int, codes: int, used: int, *, told: bool = True) -> None:
    """Codes of an official that are over, of which so many were used."""
    authority_id = AUTHORITY if number < 4 else "org.example.neighbour"
    with transaction(session):
        for place in range(codes):
            one = f"{number}-{place}"
            session.add(
                Authorization(
                    id=one,
                    authority_id=authority_id,
                    official_id=f"o-{number}",
                    report_type="confirmed",
                    stated_on=TODAY,
                )
            )
            session.flush()
            session.add(
                VerificationCode(
                    uuid=one,
                    authorization_id=one,
                    authority_id=authority_id,
                    code_hash=one.encode().ljust(32),
                    report_type="confirmed",
                    expires_at=1_781_524_800,
                    claimed=place < used,
                    claim_told=told and place < used,
                )
            )


def test_whose_codes_are_hardly_used_is_named(session: Session, clock: FakeClock) -> None:
    ended(session, 1, 20, 3)
    assert few_used(session, AUTHORITY, clock()) == [], "nobody to compare with"
    ended(session, 4, 30, 30)
    ended(session, 2, 30, 20)
    ended(session, 3, 19, 0)
    (odd,) = few_used(session, AUTHORITY, clock())
    assert (odd.name, odd.ended, odd.used) == ("Official 1", 20, 3)
    assert odd.others == pytest.approx(20 / 49)
    assert few_used(session, AUTHORITY, clock() - 1) == [], "what is not over may still be used"


def test_it_goes_by_what_was_told_and_by_nothing_a_phone_did_since(
    session: Session, clock: FakeClock
) -> None:
    ended(session, 1, 20, 20, told=False)
    ended(session, 2, 20, 20)
    (odd,) = few_used(session, AUTHORITY, clock())
    assert (odd.name, odd.used) == ("Official 1", 0)
