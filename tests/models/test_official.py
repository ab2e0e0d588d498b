"""A link lets its official in once; a session ends by signing out, by time, or with the official's rights."""

import hashlib

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.models import Authority, Official, PortalSession, SignInLink, transaction
from registry.models.official import (
    Role,
    end_session,
    holder_of_session,
    new_sign_in_link,
    redeem_sign_in_link,
)
from tests.clock import FakeClock

SHIFT = 8 * 3600


@pytest.fixture
def session(issuing_session: Session) -> Session:
    """An issuing database with one official."""
    with transaction(issuing_session):
        issuing_session.add(Authority(id="a", name="x", certificate_issuer="x", certificate_audience="x"))
        issuing_session.flush()
        issuing_session.add(Official(id="official-1", authority_id="a", name="Wang Fang"))
    return issuing_session


def link(session: Session, clock: FakeClock, **options: int) -> str:
    with transaction(session):
        return new_sign_in_link(session, "official-1", now=clock(), **options)


def redeem(session: Session, token: str, clock: FakeClock) -> str | None:
    with transaction(session):
        return redeem_sign_in_link(session, token, clock())


def official_of_session(
    session: Session, token: str, now: float, role: Role = Role.OFFICIAL
) -> Official | None:
    found = holder_of_session(session, token, now, role)
    return None if found is None else found[0]


def disable(session: Session) -> None:
    with transaction(session):
        session.scalars(select(Official)).one().disabled = True


def test_a_link_lets_its_official_in_once(session: Session, clock: FakeClock) -> None:
    token = link(session, clock)
    session_token = redeem(session, token, clock)
    assert session_token is not None
    official = official_of_session(session, session_token, clock())
    assert official is not None
    assert official.name == "Wang Fang"
    assert redeem(session, token, clock) is None


def test_only_hashes_are_kept(session: Session, clock: FakeClock) -> None:
    token = link(session, clock)
    session_token = redeem(session, token, clock) or ""
    kept = [session.scalars(select(SignInLink.token_hash)).one()]
    kept.append(session.scalars(select(PortalSession.token_hash)).one())
    assert kept == [hashlib.sha256(text.encode()).digest() for text in (token, session_token)]


def test_a_link_ends_with_its_time(session: Session, clock: FakeClock) -> None:
    # Noon and a minute, rounded up to the quarter of an hour, so that no row tells when it was made.
    token = link(session, clock, life_seconds=60)
    clock.advance(900)
    assert redeem(session, token, clock) is None
    clock.advance(-1)
    assert redeem(session, token, clock) is not None


@pytest.mark.parametrize("token", ["", "guess", "\udcff", "x" * 100_000])
def test_a_guess_opens_nothing(session: Session, clock: FakeClock, token: str) -> None:
    assert redeem(session, token, clock) is None
    assert official_of_session(session, token, clock()) is None


def test_a_session_ends_after_a_shift(session: Session, clock: FakeClock) -> None:
    token = redeem(session, link(session, clock), clock) or ""
    clock.advance(SHIFT - 1)
    assert official_of_session(session, token, clock()) is not None
    clock.advance(1)
    assert official_of_session(session, token, clock()) is None


def test_a_disabled_official_is_out_at_once_and_cannot_come_back(session: Session, clock: FakeClock) -> None:
    token = redeem(session, link(session, clock), clock) or ""
    unused = link(session, clock)
    disable(session)
    assert official_of_session(session, token, clock()) is None
    assert redeem(session, unused, clock) is None


def test_signing_out_ends_one_session_and_no_other(session: Session, clock: FakeClock) -> None:
    ward = redeem(session, link(session, clock), clock) or ""
    office = redeem(session, link(session, clock), clock) or ""
    with transaction(session):
        end_session(session, ward)
        end_session(session, "unknown")
    assert official_of_session(session, ward, clock()) is None
    assert official_of_session(session, office, clock()) is not None


def test_a_link_and_a_session_are_good_in_one_role_alone(session: Session, clock: FakeClock) -> None:
    with transaction(session):
        session.add(Official(id="auditor-1", authority_id="a", name="Zhao Min", role=Role.AUDITOR.value))
        session.flush()
        token = new_sign_in_link(session, "auditor-1", now=clock())
    assert redeem(session, token, clock) is None, "not at the portal; and it did not burn"
    with transaction(session):
        opened = redeem_sign_in_link(session, token, clock(), Role.AUDITOR)
    assert opened is not None
    assert official_of_session(session, opened, clock()) is None
    found = official_of_session(session, opened, clock(), Role.AUDITOR)
    assert found is not None
    assert found.id == "auditor-1"


def test_whoever_is_made_without_a_role_is_an_official(session: Session) -> None:
    assert session.scalars(select(Official)).one().role == Role.OFFICIAL.value
