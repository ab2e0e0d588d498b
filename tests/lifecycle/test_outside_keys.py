"""An outside authority's newest key set decides, never down to none."""

from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from registry.errors import KeysRefused
from registry.lifecycle.authorities import authority_now
from registry.lifecycle.outside_keys import TAIL_SECONDS, replace_keys
from registry.models import HealthAuthority, HealthAuthorityKey, open_database, transaction
from tests.authority import MadeSigner
from tests.clock import FakeClock

FAR = 2**40
PEMS = [MadeSigner(f"k{n}").public_key_pem for n in range(4)]


@pytest.fixture
def session(collecting_url: str) -> Iterator[Session]:
    engine = open_database(collecting_url)
    with Session(engine) as session:
        with transaction(session):
            session.add(
                HealthAuthority(id="other", certificate_issuer="i", certificate_audience="a", regions=["XB"])
            )
        yield session
    engine.dispose()


def take(session: Session, clock: FakeClock, **keys: str) -> tuple[list[str], list[str], list[str]]:
    with transaction(session):
        changed = replace_keys(session, "other", keys, now=int(clock()), not_after=FAR)
    return changed.new, changed.kept, changed.ended


def live(session: Session, clock: FakeClock) -> set[str]:
    return set(authority_now(session, "other", clock()).public_keys)


def test_a_key_that_vanished_is_good_for_an_hour_and_what_came_at_once(
    session: Session, clock: FakeClock
) -> None:
    assert take(session, clock, a=PEMS[0], b=PEMS[1]) == (["a", "b"], [], [])
    assert take(session, clock, b=PEMS[1], c=PEMS[2]) == (["c"], ["b"], ["a"])
    assert live(session, clock) == {"a", "b", "c"}
    clock.advance(TAIL_SECONDS)
    assert live(session, clock) == {"b", "c"}
    # A set that is taken again does not lengthen the tail, and what has ended is gone.
    assert take(session, clock, b=PEMS[1], c=PEMS[2]) == ([], ["b", "c"], [])
    assert session.query(HealthAuthorityKey).count() == 2


def test_a_key_that_is_back_within_its_tail_stays(session: Session, clock: FakeClock) -> None:
    take(session, clock, a=PEMS[0], b=PEMS[1])
    take(session, clock, b=PEMS[1])
    clock.advance(TAIL_SECONDS - 1)
    take(session, clock, a=PEMS[0], b=PEMS[1])
    clock.advance(TAIL_SECONDS)
    assert live(session, clock) == {"a", "b"}


def test_a_set_without_a_key_or_with_another_under_a_known_id_changes_nothing(
    session: Session, clock: FakeClock
) -> None:
    take(session, clock, a=PEMS[0])
    with pytest.raises(KeysRefused, match="stay as they are"):
        take(session, clock)
    with pytest.raises(KeysRefused, match="names another key"):
        take(session, clock, a=PEMS[1], b=PEMS[2])
    clock.advance(2 * TAIL_SECONDS)
    assert live(session, clock) == {"a"}


def test_an_authority_that_is_not_here_is_refused(session: Session, clock: FakeClock) -> None:
    with transaction(session), pytest.raises(KeysRefused, match="comes first"):
        replace_keys(session, "nobody", {"a": PEMS[0]}, now=int(clock()), not_after=FAR)
