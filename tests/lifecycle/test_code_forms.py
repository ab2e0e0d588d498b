"""Codes of each form are issued, looked at, used and bounded in time; what was handed out keeps its form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from registry.lifecycle.at_hand import extend_code, keep_at_hand, look_at, own_code
from registry.lifecycle.authorize import (
    EXPIRY_GRAIN_SECONDS,
    IssuedCode,
    IssuingPolicy,
    Statement,
    authorize,
    life_of,
    rounded_expiry,
)
from registry.models import Authority, CodeAtHand, Official, VerificationCode, transaction
from registry.protocol.codes import CodeForm, form_of
from registry.protocol.intervals import utc_date
from tests.clock import FakeClock

AUTHORITY, OFFICIAL, SECRET = "org.example.health", "official-1", b"s" * 32
MINE = {"official_id": OFFICIAL, "authority_id": AUTHORITY}


@pytest.fixture
def session(issuing_session: Session) -> Session:
    with transaction(issuing_session):
        issuing_session.add(
            Authority(id=AUTHORITY, name="x", certificate_issuer="x", certificate_audience="x")
        )
        issuing_session.flush()
        issuing_session.add(Official(id=OFFICIAL, authority_id=AUTHORITY, name="x"))
    return issuing_session


def issue(session: Session, clock: FakeClock, form: CodeForm, policy: IssuingPolicy) -> IssuedCode:
    statement = Statement(
        *("confirmed", utc_date(clock()), None, OFFICIAL),
        consent_version="2026-11",
        consent_language="zh",
        consent_channel="phone",
    )
    with transaction(session):
        session.get_one(Authority, AUTHORITY).code_form = form.value
        issued = authorize(
            session, statement, authority_id=AUTHORITY, lookup_key=b"l" * 32, policy=policy, now=clock()
        )
        keep_at_hand(session, issued, SECRET, clock())
    return issued


def test_each_authority_s_codes_have_its_form_and_lie_at_hand_in_rows_of_one_length(
    session: Session, clock: FakeClock
) -> None:
    issued = {form: issue(session, clock, form, IssuingPolicy()) for form in CodeForm}
    lengths = set()
    for form, one in issued.items():
        assert form_of(one.code) is form
        assert own_code(session, one.uuid, **MINE).form is form, "whatever the authority chose since"
        at_hand = look_at(session, one.uuid, SECRET, clock())
        assert at_hand is not None
        assert at_hand.code == one.code
        lengths.add(len(session.get_one(CodeAtHand, one.uuid).sealed))
    assert len(lengths) == 1


@given(st.floats(0, 4e9, allow_nan=False), st.integers(1, 30 * 86_400))
def test_eight_digits_never_live_for_more_than_an_hour(now: float, life: int) -> None:
    expires_at = rounded_expiry(now, life_of(CodeForm.SHORT, IssuingPolicy(code_life_seconds=life)))
    assert expires_at % EXPIRY_GRAIN_SECONDS == 0
    assert now < expires_at <= now + 3600
    for form in (CodeForm.DIGITS, CodeForm.LETTERS):
        assert life_of(form, IssuingPolicy(code_life_seconds=life)) == life


def test_a_short_code_cannot_be_extended_not_even_after_the_authority_chose_another_form(
    session: Session, clock: FakeClock
) -> None:
    clock.advance(1)
    policy = IssuingPolicy(code_life_seconds=86_400)
    short = issue(session, clock, CodeForm.SHORT, policy)
    assert short.expires_at <= clock() + 3600
    letters = issue(session, clock, CodeForm.LETTERS, policy)
    clock.advance(1800)
    with transaction(session):
        for issued, until in ((short, short.expires_at), (letters, rounded_expiry(clock(), 86_400))):
            assert extend_code(session, issued.uuid, **MINE, policy=policy, now=clock()) == until
    own = own_code(session, short.uuid, **MINE)
    assert own.longest == own.expires_at == short.expires_at
    assert session.get_one(VerificationCode, short.uuid).code_form == "short"
