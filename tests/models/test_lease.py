"""One holder at a time, and a holder that overslept cannot write."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from registry.errors import LeaseLost
from registry.models import CollectingChaff, open_database, transaction
from registry.models.lease import fenced, hold_lease, leased, release_lease, take_lease


@pytest.fixture
def other_session(collecting_url: str) -> Iterator[Session]:
    engine = open_database(collecting_url)
    with Session(engine) as session:
        yield session
    engine.dispose()


def take(session: Session, holder: str, now: float) -> int | None:
    with transaction(session):
        return take_lease(session, "publish", holder, now, ttl=60)


def test_another_waits_until_the_lease_has_run_out(collecting_session: Session) -> None:
    assert take(collecting_session, "a", 1000) == 1
    assert take(collecting_session, "b", 1059) is None
    assert take(collecting_session, "b", 1060) == 2
    assert take(collecting_session, "a", 1061) is None


def test_a_holder_takes_its_own_lease_again_with_a_new_fence(collecting_session: Session) -> None:
    assert take(collecting_session, "a", 1000) == 1
    assert take(collecting_session, "a", 1001) == 2
    with pytest.raises(LeaseLost), fenced(collecting_session, "publish", 1):
        pass


def test_leases_of_different_names_are_nothing_to_each_other(collecting_session: Session) -> None:
    assert take(collecting_session, "a", 1000) == 1
    with transaction(collecting_session):
        assert take_lease(collecting_session, "retire", "b", 1000, ttl=60) == 1


def test_a_released_lease_is_free_at_once(collecting_session: Session) -> None:
    fence = take(collecting_session, "a", 1000)
    assert fence == 1
    with transaction(collecting_session):
        release_lease(collecting_session, "publish", fence)
    assert take(collecting_session, "b", 1010) == 2
    # Whoever lost it cannot release it from under the new holder.
    with transaction(collecting_session):
        release_lease(collecting_session, "publish", fence)
    assert take(collecting_session, "c", 1012) is None


def test_a_holder_that_overslept_writes_nothing(collecting_session: Session, other_session: Session) -> None:
    old = take(collecting_session, "a", 1000)
    assert old is not None
    assert take(other_session, "b", 1100) == 2
    with pytest.raises(LeaseLost), fenced(collecting_session, "publish", old) as session:
        session.add(CollectingChaff(noise=b"late"))
    assert other_session.scalars(select(CollectingChaff)).all() == []


def test_a_released_lease_is_free_though_the_clock_was_set_back_since(collecting_session: Session) -> None:
    fence = take(collecting_session, "a", 1000)
    assert fence == 1
    with transaction(collecting_session):
        release_lease(collecting_session, "publish", fence)
    assert take(collecting_session, "b", 400) == 2


def test_time_opens_a_lease_to_others_and_the_fence_alone_shuts_its_holder_out(
    collecting_session: Session, other_session: Session
) -> None:
    fence = take(collecting_session, "a", 1000)
    assert fence is not None
    # Late, but nobody else has begun: its work is still the only one.
    with fenced(collecting_session, "publish", fence) as session:
        session.add(CollectingChaff(noise=b"late"))
    assert take(other_session, "b", 1060) == 2
    with pytest.raises(LeaseLost), fenced(collecting_session, "publish", fence):
        pass


def test_a_lease_is_released_with_its_block_whatever_ends_it(collecting_session: Session) -> None:
    with leased(collecting_session, "publish", "a", 1000, 60) as fence:
        assert fence == 1
        with leased(collecting_session, "publish", "b", 1000, 60) as others:
            assert others is None
        # Whoever was not let in has not released it either.
        assert take(collecting_session, "c", 1000) is None
    with pytest.raises(ValueError, match="no more"), leased(collecting_session, "publish", "b", 1000, 60):
        raise ValueError("no more")
    with leased(collecting_session, "publish", "c", 1000, 60) as fence:
        assert fence == 3


def test_long_names_that_begin_alike_are_two_holders(collecting_session: Session) -> None:
    machine = "publisher-7f9c6d5b8-x2x9q.registry.health.svc.cluster.example." * 3
    assert take(collecting_session, f"{machine}:1", 1000) == 1
    assert take(collecting_session, f"{machine}:2", 1000) is None
    assert take(collecting_session, f"{machine}:1", 1000) == 2


def test_a_lease_that_nobody_took_is_not_held(collecting_session: Session) -> None:
    with pytest.raises(LeaseLost), transaction(collecting_session):
        hold_lease(collecting_session, "publish", 1)


def test_of_two_that_take_it_at_once_one_waits_and_is_refused(
    collecting_session: Session, other_session: Session
) -> None:
    """The second statement runs while the first transaction is open, where the database allows that."""
    if collecting_session.get_bind().dialect.name == "sqlite":
        assert take(collecting_session, "a", 1000) == 1
        assert take(other_session, "b", 1000) is None
        return
    answers: list[int | None] = []
    with transaction(collecting_session):
        answers.append(take_lease(collecting_session, "publish", "a", 1000, ttl=60))
        waiting = threading.Thread(target=lambda: answers.append(take(other_session, "b", 1000)))
        waiting.start()
        _until_somebody_waits(collecting_session)
    waiting.join()
    assert answers == [1, None]


def _until_somebody_waits(session: Session) -> None:
    """Returns once another connection is waiting for a row that `session` has locked."""
    # pg_locks and not pg_stat_activity: the latter is read once a transaction and then stands still.
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    for _ in range(100_000):
        if session.scalar(waiting):
            return
    raise AssertionError("nobody ever waited")
