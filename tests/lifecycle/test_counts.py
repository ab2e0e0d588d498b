"""Counts by the day: what was done is counted once, what was refused or repeated is not."""

from datetime import date

import pytest
from sqlalchemy.orm import Session

from registry.errors import Refusal
from registry.lifecycle.counts import CountKind, DayCounts, count_one, counts
from registry.models import transaction
from tests.clock import FakeClock
from tests.lifecycle.test_certify import MAC, Desk

DAY = 86_400
JUNE_15 = date(2026, 6, 15)


@pytest.fixture
def desk(issuing_url: str, issuing_session: Session, clock: FakeClock) -> Desk:
    return Desk(issuing_url, issuing_session, clock)


def test_issued_redeemed_certified(desk: Desk) -> None:
    codes = [desk.code() for _ in range(3)]
    tokens = [desk.verify(code).token for code in codes[:2]]
    desk.certify(tokens[0])
    assert counts(desk.session, JUNE_15) == (DayCounts(JUNE_15, issued=3, redeemed=2, certified=1),)


def test_repeated_answers_and_refusals_count_nothing(desk: Desk) -> None:
    code = desk.code()
    for _ in range(3):
        token = desk.verify(code).token
    for _ in range(3):
        desk.certify(token)
    desk.clock.advance(3600)
    desk.certify(token)  # renewed
    for wrong in (lambda: desk.verify("000000000000000"), lambda: desk.certify(token, MAC[::-1])):
        with pytest.raises(Refusal):
            wrong()
    assert counts(desk.session, JUNE_15) == (DayCounts(JUNE_15, 1, 1, 1),)


def test_days_are_utc_days_and_read_from_one_on(issuing_session: Session, clock: FakeClock) -> None:
    for day in range(3):
        with transaction(issuing_session):
            for _ in range(day + 1):
                count_one(issuing_session, CountKind.REDEEMED, clock() + day * DAY)
    assert [(found.day.day, found.redeemed) for found in counts(issuing_session, JUNE_15)] == [
        (15, 1),
        (16, 2),
        (17, 3),
    ]
    assert [found.day.day for found in counts(issuing_session, date(2026, 6, 17))] == [17]
    assert counts(issuing_session, date(2026, 6, 18)) == ()
