"""A code at hand opens for the secret that it was sealed to, for a quarter of an hour, and goes."""

import pytest
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.at_hand import (
    AT_HAND_SECONDS,
    AtHand,
    end_code,
    extend_code,
    keep_at_hand,
    look_at,
    own_code,
    own_codes,
    tell_claims,
)
from registry.lifecycle.authorize import IssuedCode, IssuingPolicy, Statement, authorize
from registry.lifecycle.retire import retire_issuing
from registry.models import Authority, CodeAtHand, Official, VerificationCode, transaction
from registry.protocol.intervals import utc_date
from tests.clock import FakeClock

AUTHORITY, NEIGHBOUR, OFFICIAL = "org.example.health", "org.example.neighbour", "official-1"
SECRET, ANOTHER = b"s" * 32, b"t" * 32
POLICY = IssuingPolicy()


@pytest.fixture
def session(issuing_session: Session) -> Session:
    with transaction(issuing_session):
        for authority_id in (AUTHORITY, NEIGHBOUR):
            issuing_session.add(
                Authority(id=authority_id, name="x", certificate_issuer="x", certificate_audience="x")
            )
        issuing_session.flush()
        for official_id in (OFFICIAL, "official-2"):
            issuing_session.add(Official(id=official_id, authority_id=AUTHORITY, name="x"))
    return issuing_session


def issue(session: Session, clock: FakeClock, policy: IssuingPolicy = POLICY) -> IssuedCode:
    statement = Statement(
        *("confirmed", utc_date(clock()), None, OFFICIAL),
        consent_version="2026-11",
        consent_language="zh",
        consent_channel="phone",
    )
    with transaction(session):
        issued = authorize(
            session, statement, authority_id=AUTHORITY, lookup_key=b"l" * 32, policy=policy, now=clock()
        )
        keep_at_hand(session, issued, SECRET, clock())
    return issued


def test_it_opens_for_its_secret_under_its_own_name_alone(session: Session, clock: FakeClock) -> None:
    one, other = issue(session, clock), issue(session, clock)
    assert look_at(session, one.uuid, SECRET, clock()) == AtHand(
        one.code, one.link_code, int(clock()) + AT_HAND_SECONDS
    )
    assert look_at(session, one.uuid, ANOTHER, clock()) is None
    with transaction(session):
        # What lies under another code's name is not taken for that code.
        session.get_one(CodeAtHand, other.uuid).sealed = session.get_one(CodeAtHand, one.uuid).sealed
    assert look_at(session, other.uuid, SECRET, clock()) is None


def test_it_goes_after_its_quarter_of_an_hour_and_before_its_code(session: Session, clock: FakeClock) -> None:
    clock.advance(1)
    issued = issue(session, clock)
    row = session.get_one(CodeAtHand, issued.uuid)
    assert row.expires_at - clock() == 2 * AT_HAND_SECONDS - 1, "rounded up, so that it does not say when"
    clock.advance(row.expires_at - clock())
    assert look_at(session, issued.uuid, SECRET, clock()) is None
    with transaction(session):
        gone = retire_issuing(session, clock())
    assert (gone.codes_at_hand, gone.codes) == (1, 0)
    clock.advance(86_400 + 48 * 3600)
    with transaction(session):
        assert retire_issuing(session, clock()).codes == 1


def test_a_code_that_is_retired_late_takes_what_lies_at_hand_with_it(
    session: Session, clock: FakeClock
) -> None:
    issue(session, clock)
    clock.advance(4 * 86_400)
    with transaction(session):
        gone = retire_issuing(session, clock())
    assert (gone.codes_at_hand, gone.codes) == (1, 1)


def test_one_s_own_codes_are_those_that_one_stated_here(session: Session, clock: FakeClock) -> None:
    first = issue(session, clock)
    clock.advance(900)
    second = issue(session, clock)

    def uuids(official_id: str = OFFICIAL, authority_id: str = AUTHORITY) -> list[str]:
        found = own_codes(session, official_id=official_id, authority_id=authority_id)
        return [code.uuid for code in found]

    assert uuids() == [second.uuid, first.uuid]
    assert uuids("official-2") == uuids(authority_id=NEIGHBOUR) == []
    for official_id, authority_id in (("official-2", AUTHORITY), (OFFICIAL, NEIGHBOUR)):
        with pytest.raises(Refusal) as refusal:
            own_code(session, first.uuid, official_id=official_id, authority_id=authority_id)
        assert refusal.value.code is RefusalCode.CODE_NOT_FOUND


def test_an_extension_never_shortens(session: Session, clock: FakeClock) -> None:
    issued = issue(session, clock, IssuingPolicy(code_life_seconds=3 * 86_400))
    mine = {"official_id": OFFICIAL, "authority_id": AUTHORITY, "now": clock()}
    with transaction(session):
        assert extend_code(session, issued.uuid, **mine, policy=IssuingPolicy()) == issued.expires_at


def test_what_is_over_is_refused(session: Session, clock: FakeClock) -> None:
    issued = issue(session, clock)
    mine = {"official_id": OFFICIAL, "authority_id": AUTHORITY}
    with transaction(session):
        end_code(session, issued.uuid, **mine, now=clock())
    assert session.get_one(VerificationCode, issued.uuid).expires_at <= clock()
    for act in (
        lambda: end_code(session, issued.uuid, **mine, now=clock()),
        lambda: extend_code(session, issued.uuid, **mine, policy=IssuingPolicy(), now=clock()),
    ):
        with pytest.raises(Refusal) as refusal, transaction(session):
            act()
        assert refusal.value.code is RefusalCode.CODE_EXPIRED


def test_claims_are_told_for_all_codes_at_once_and_no_time_of_them_is_kept(
    session: Session, clock: FakeClock
) -> None:
    used, unused = issue(session, clock), issue(session, clock)
    clock.advance(900 - clock() % 900)
    with transaction(session):
        session.get_one(VerificationCode, used.uuid).claimed = True

    def known() -> dict[str, bool]:
        session.rollback()
        found = own_codes(session, official_id=OFFICIAL, authority_id=AUTHORITY)
        return {code.uuid: code.is_known_used for code in found}

    def tell() -> bool:
        with transaction(session):
            return tell_claims(session, clock())

    assert known() == {used.uuid: False, unused.uuid: False}
    before = session.get_one(VerificationCode, used.uuid).expires_at
    assert not tell(), "the first time in the middle of a quarter"
    clock.advance(899)
    assert not tell(), "another start in the same quarter"
    assert not any(known().values())
    clock.advance(1)
    assert tell()
    assert not tell()
    assert known() == {used.uuid: True, unused.uuid: False}
    assert session.get_one(VerificationCode, used.uuid).expires_at == before
    clock.advance(-3600)
    assert not tell(), "a clock that was set back"
