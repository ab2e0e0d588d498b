"""Quotas: no code beyond them, however many ask at once; what we lost is given back; two allow more."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import NotToBeDecided, Refusal, RefusalCode
from registry.lifecycle.activity import acts_of
from registry.lifecycle.authorize import IssuingPolicy, Statement, authorize
from registry.lifecycle.forecast import ForecastBounds
from registry.lifecycle.quota import (
    Quota,
    QuotaLimits,
    QuotaPolicy,
    quota_of,
    refund_one,
    set_limits,
)
from registry.lifecycle.retire import retire_issuing
from registry.lifecycle.surges import ask_surge, decide_surge
from registry.models import (
    Authority,
    Authorization,
    IssuingCount,
    Official,
    QuotaUse,
    SurgeRequest,
    VerificationCode,
    open_database,
    transaction,
)
from registry.models.official import USUAL_PERMISSIONS, Permission, permission_text
from registry.protocol.activity import decode_act
from tests.clock import FakeClock

AUTHORITY = "org.example.health"
TODAY = date(2026, 6, 15)
DAY = 86_400
QUOTA = QuotaPolicy(ForecastBounds(start=7, least=5, most=9), official=3, bulk=6)
BY_LAB = Statement("confirmed", TODAY, None, api_key_hash=bytes(32))


def by(official_id: str) -> Statement:
    return replace(
        BY_LAB,
        api_key_hash=None,
        official_id=official_id,
        consent_version="2026-11",
        consent_language="zh",
        consent_channel="phone",
    )


@pytest.fixture
def session(issuing_session: Session) -> Session:
    """Three officials of one authority; the third issues in bulk."""
    with transaction(issuing_session):
        issuing_session.add(
            Authority(id=AUTHORITY, name="x", certificate_issuer="x", certificate_audience="x")
        )
        issuing_session.flush()
        for number in (1, 2, 3):
            permissions = USUAL_PERMISSIONS | ({Permission.BULK} if number == 3 else set())
            issuing_session.add(
                Official(
                    id=f"official-{number}",
                    authority_id=AUTHORITY,
                    name=f"Official {number}",
                    permission_text=permission_text(permissions),
                )
            )
    return issuing_session


def issue(session: Session, statement: Statement, now: float) -> str:
    with transaction(session):
        return authorize(
            session,
            statement,
            authority_id=AUTHORITY,
            lookup_key=bytes(32),
            policy=IssuingPolicy(quota=QUOTA),
            now=now,
        ).authorization_id


def refused(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as met:
        act()
    assert met.value.code is RefusalCode.QUOTA_EXCEEDED
    return met.value


def quota(session: Session, now: float, official_id: str | None = None) -> Quota:
    session.rollback()
    return quota_of(session, AUTHORITY, official_id, QUOTA, now)


def test_an_official_is_refused_before_the_authority_is_and_nothing_is_stored(
    session: Session, clock: FakeClock
) -> None:
    for _ in range(3):
        issue(session, by("official-1"), clock())
    refusal = refused(lambda: issue(session, by("official-1"), clock()))
    assert refusal.retry_at == int(clock()) + DAY // 2, "at midnight of UTC"
    for table in (Authorization, VerificationCode):
        assert session.scalar(select(func.count()).select_from(table)) == 3
    assert session.scalar(select(IssuingCount.n)) == 3
    assert quota(session, clock(), "official-1") == Quota(3, 3)
    assert quota(session, clock()) == Quota(3, 7), "what was refused to one took nothing from the others"
    issue(session, by("official-2"), clock())
    clock.advance(DAY / 2)
    issue(session, by("official-1"), clock())
    assert quota(session, clock(), "official-1") == Quota(1, 3)


def test_the_authoritys_quota_holds_for_all_of_it_and_for_its_systems(
    session: Session, clock: FakeClock
) -> None:
    for statement in [by("official-1")] * 3 + [BY_LAB] * 4:
        issue(session, statement, clock())
    for statement in (BY_LAB, by("official-2")):
        refused(lambda statement=statement: issue(session, statement, clock()))
    assert quota(session, clock()).left == 0
    assert quota(session, clock(), "official-2") == Quota(0, 3)
    (lab,) = session.scalars(select(QuotaUse).where(QuotaUse.issuer.startswith("api-key:")))
    assert (lab.n, lab.most) == (4, None)


def test_who_issues_for_many_has_a_number_of_their_own(session: Session, clock: FakeClock) -> None:
    assert quota(session, clock(), "official-3") == Quota(0, 6)
    for _ in range(6):
        issue(session, by("official-3"), clock())
    refused(lambda: issue(session, by("official-3"), clock()))


def test_of_many_at_once_exactly_as_many_get_through_as_there_are_codes(
    session: Session, issuing_url: str, clock: FakeClock
) -> None:
    officials = [f"official-{1 + number % 2}" for number in range(8)]
    engine, start = open_database(issuing_url), Barrier(len(officials))

    def one(official_id: str) -> str | None:
        with Session(engine) as own:
            start.wait()
            try:
                return issue(own, by(official_id), clock())
            except Refusal:
                return None

    with ThreadPoolExecutor(len(officials)) as pool:
        outcomes = list(pool.map(one, officials))
    engine.dispose()
    assert sum(outcome is not None for outcome in outcomes) == 6
    assert [quota(session, clock(), f"official-{number}").used for number in (1, 2)] == [3, 3]
    assert quota(session, clock()).used == 6


def test_what_failed_by_our_fault_is_given_back_once(session: Session, clock: FakeClock) -> None:
    statement = issue(session, by("official-1"), clock())
    with transaction(session):
        authorization = session.get_one(Authorization, statement)
        refund_one(session, authorization)
        refund_one(session, authorization)
    assert quota(session, clock(), "official-1") == Quota(0, 3)
    assert quota(session, clock()) == Quota(0, 7), "never below none"


def test_what_is_given_back_is_of_the_day_on_which_it_was_taken(session: Session, clock: FakeClock) -> None:
    statement = issue(session, by("official-1"), clock())
    clock.advance(DAY)
    issue(session, by("official-1"), clock())
    with transaction(session):
        refund_one(session, session.get_one(Authorization, statement))
    assert quota(session, clock(), "official-1").used == 1


def test_the_forecast_goes_by_what_was_issued(session: Session, clock: FakeClock) -> None:
    with transaction(session):
        for back in range(1, 29):
            session.add(
                QuotaUse(authority_id=AUTHORITY, issuer="", day=TODAY - timedelta(days=back), n=4, most=None)
            )
    assert quota(session, clock()) == Quota(0, 8)
    for _ in range(3):
        issue(session, by("official-1"), clock())
    assert quota(session, clock()) == Quota(3, 8)


def ask(session: Session, clock: FakeClock, amount: int, *, is_for_all: bool = False) -> str:
    with transaction(session):
        return ask_surge(
            session,
            authority_id=AUTHORITY,
            asked_by="official-1",
            is_for_all=is_for_all,
            amount=amount,
            policy=QUOTA,
            now=clock(),
        )


def decide(session: Session, clock: FakeClock, request: str, by_whom: str, *, approve: bool = True) -> None:
    with transaction(session):
        decide_surge(
            session,
            request,
            authority_id=AUTHORITY,
            official_id=by_whom,
            approve=approve,
            policy=QUOTA,
            now=clock(),
        )


def test_a_second_person_lets_one_issue_more_on_that_day(session: Session, clock: FakeClock) -> None:
    for _ in range(3):
        issue(session, by("official-1"), clock())
    request = ask(session, clock, 2)
    refused(lambda: issue(session, by("official-1"), clock()))
    with pytest.raises(NotToBeDecided):
        decide(session, clock, request, "official-1")
    decide(session, clock, request, "official-2")
    with pytest.raises(NotToBeDecided):
        decide(session, clock, request, "official-3")
    assert quota(session, clock(), "official-1") == Quota(3, 5)
    for _ in range(2):
        issue(session, by("official-1"), clock())
    refused(lambda: issue(session, by("official-1"), clock()))
    clock.advance(DAY)
    assert quota(session, clock(), "official-1") == Quota(0, 3)
    kinds = [decode_act(event.content).kind for event in acts_of(session, AUTHORITY)]
    assert [kind for kind in kinds if kind.startswith("surge")] == ["surge_asked", "surge_approved"]


def test_more_for_the_whole_authority_before_anything_was_issued(session: Session, clock: FakeClock) -> None:
    decide(session, clock, ask(session, clock, 7, is_for_all=True), "official-2")
    assert quota(session, clock()) == Quota(0, 14)
    assert quota(session, clock(), "official-1") == Quota(0, 3)


@pytest.mark.parametrize("amount", [0, -1, 4])
def test_no_more_is_asked_for_than_as_much_again(session: Session, clock: FakeClock, amount: int) -> None:
    with pytest.raises(Refusal):
        ask(session, clock, amount)
    assert session.scalars(select(SurgeRequest)).all() == []


def test_a_request_that_is_refused_or_of_yesterday_changes_nothing(
    session: Session, clock: FakeClock
) -> None:
    decide(session, clock, ask(session, clock, 2), "official-2", approve=False)
    late = ask(session, clock, 2)
    clock.advance(DAY)
    with pytest.raises(NotToBeDecided):
        decide(session, clock, late, "official-2")
    assert quota(session, clock(), "official-1") == Quota(0, 3)


def test_limits_that_are_fixed_hold_at_once_and_until_they_are_taken_back(
    session: Session, clock: FakeClock
) -> None:
    issue(session, by("official-1"), clock())

    def fix(limits: QuotaLimits) -> None:
        with transaction(session):
            set_limits(session, AUTHORITY, limits, official_id="official-2", policy=QUOTA, now=clock())

    fix(QuotaLimits(authority=2, official=1))
    refused(lambda: issue(session, by("official-1"), clock()))
    issue(session, by("official-2"), clock())
    refused(lambda: issue(session, by("official-3"), clock()))
    assert quota(session, clock(), "official-3") == Quota(0, 6)
    fix(QuotaLimits())
    assert quota(session, clock(), "official-1") == Quota(1, 3)
    assert quota(session, clock()) == Quota(2, 7)
    (first, *_) = [
        decode_act(event.content)
        for event in acts_of(session, AUTHORITY)
        if decode_act(event.content).kind == "quota_changed"
    ]
    assert first.detail == {"authority_most": 2, "official_most": 1}
    assert first.actor == "official:official-2"


def test_counts_go_after_eight_weeks_and_requests_after_a_year(session: Session, clock: FakeClock) -> None:
    issue(session, by("official-1"), clock())
    ask(session, clock, 1)
    clock.advance(56 * DAY)
    with transaction(session):
        assert retire_issuing(session, clock()).quota_days == 0
    clock.advance(DAY)
    with transaction(session):
        assert retire_issuing(session, clock()).quota_days == 2
    clock.advance(308 * DAY)
    with transaction(session):
        assert retire_issuing(session, clock()).surges == 1
    assert session.scalars(select(SurgeRequest)).all() == []
