"""A code that is undone leaves nothing but two acts, and its handle free; one that was used stays."""

from datetime import date

import pytest
from sqlalchemy.orm import Session

from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.at_hand import keep_at_hand
from registry.lifecycle.authorize import IssuedCode, IssuingPolicy, Statement, authorize
from registry.lifecycle.counts import counts
from registry.lifecycle.undo import undo_code
from registry.models import Authorization, CodeAtHand, QuotaUse, VerificationCode, transaction
from registry.protocol.activity import decode_act
from tests.authority import AUTHORITY, LOOKUP_KEY, MadeSigner, found_issuing
from tests.clock import FakeClock

HANDLE = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def session(issuing_session: Session) -> Session:
    found_issuing(issuing_session, MadeSigner("c1"))
    return issuing_session


def issue(session: Session, clock: FakeClock, handle: str | None = HANDLE) -> IssuedCode:
    statement = Statement("confirmed", date(2026, 6, 14), None, api_key_hash=b"k" * 32, uuid=handle)
    with transaction(session):
        issued = authorize(
            session,
            statement,
            authority_id=AUTHORITY,
            lookup_key=LOOKUP_KEY,
            policy=IssuingPolicy(),
            now=clock(),
        )
        keep_at_hand(session, issued, b"s" * 32, clock())
    return issued


def test_it_is_as_if_it_had_never_been_but_for_the_record(session: Session, clock: FakeClock) -> None:
    other = issue(session, clock, None)
    issued = issue(session, clock)
    clock.advance(86_400)
    for _ in range(2):
        with transaction(session):
            assert undo_code(session, issued.uuid, now=clock())
    assert [row.uuid for row in session.query(VerificationCode)] == [other.uuid]
    assert [row.id for row in session.query(Authorization)] == [other.authorization_id]
    assert [row.code_uuid for row in session.query(CodeAtHand)] == [other.uuid]
    (day,) = counts(session, date(2026, 6, 1))
    assert (day.day, day.issued) == (date(2026, 6, 15), 1), "off the day that it was counted on"
    acts = [decode_act(event.content) for event in acts_of(session, AUTHORITY)]
    assert [act.kind for act in acts] == ["code_issued", "code_issued", "code_undone"]
    assert acts[1].detail == acts[2].detail == {"authorization": issued.authorization_id}
    assert check_chain(acts_of(session, AUTHORITY))
    assert issue(session, clock).uuid == HANDLE, "the handle is free again"


@pytest.mark.parametrize(("is_our_fault", "taken"), [(True, 1), (False, 2)])
def test_the_quota_gets_it_back_only_for_a_fault_of_ours(
    session: Session, clock: FakeClock, is_our_fault: bool, taken: int
) -> None:
    issue(session, clock, None)
    issued = issue(session, clock)
    with transaction(session):
        assert undo_code(session, issued.uuid, now=clock(), is_our_fault=is_our_fault)
    assert {row.n for row in session.query(QuotaUse)} == {taken}


def test_one_that_a_phone_has_used_stays(session: Session, clock: FakeClock) -> None:
    issued = issue(session, clock)
    with transaction(session):
        session.get_one(VerificationCode, issued.uuid).claimed = True
    with transaction(session):
        assert not undo_code(session, issued.uuid, now=clock())
    assert session.get(VerificationCode, issued.uuid) is not None
    assert [decode_act(event.content).kind for event in acts_of(session, AUTHORITY)] == ["code_issued"]
