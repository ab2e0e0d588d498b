"""Acts are chained with what was done or not at all, whoever else acts; their heads are anchored daily."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.errors import Distrusted, Malformed
from registry.lifecycle.activity import (
    actor_of,
    acts_of,
    chain_heads,
    check_all_chains,
    check_chain,
    due_anchor,
    mark_anchor_logged,
    newest_anchor,
    record_act,
    record_operators_act,
)
from registry.lifecycle.counts import CountKind, count_one, counts
from registry.models import ActivityAnchor, ActivityChain, ActivityEvent, open_database, transaction
from registry.protocol.activity import ActKind, activity_commitment, decode_act, decode_heads
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.clock import FakeClock

CHAIN = "xa.health"
DAY = 86_400


def act(session: Session, now: float = NOON, chain: str = CHAIN, number: int = 0) -> None:
    """Somebody issues a code."""
    record_act(
        session,
        chain=chain,
        kind=ActKind.CODE_ISSUED,
        actor="official:o-1",
        detail={"authorization": f"a-{number}"},
        now=now,
    )


def acts(session: Session, times: int, chain: str = CHAIN) -> None:
    """As many, each in a transaction of its own."""
    for number in range(times):
        with transaction(session):
            act(session, chain=chain, number=number)


def test_an_act_says_who_did_what_in_which_hour_and_nothing_else(issuing_session: Session) -> None:
    with transaction(issuing_session):
        act(issuing_session, now=NOON + 3599)
    (row,) = acts_of(issuing_session, CHAIN)
    stored = decode_act(row.content)
    assert (stored.chain, stored.number, stored.kind, stored.actor) == (
        CHAIN,
        1,
        "code_issued",
        "official:o-1",
    )
    assert (stored.hour, stored.detail, stored.previous) == (
        "2026-06-15T12:00Z",
        {"authorization": "a-0"},
        None,
    )
    assert row.day == date(2026, 6, 15)
    assert chain_heads(issuing_session) == {CHAIN: row.hash}


def test_who_did_it_is_an_official_else_a_key_else_the_authority() -> None:
    assert actor_of(official_id="o", api_key_hash=b"k", authority_id="a") == "official:o"
    assert actor_of(official_id=None, api_key_hash=b"k", authority_id="a") == "api-key:6b"
    assert actor_of(official_id=None, api_key_hash=None, authority_id="a") == "authority:a"


def test_chains_grow_apart_and_each_holds(issuing_session: Session) -> None:
    acts(issuing_session, 3)
    acts(issuing_session, 2, chain="xb.health")
    with transaction(issuing_session):
        record_operators_act(issuing_session, ActKind.KEY_ROTATED, {"key": "XA_export-2"}, NOON)
    for chain, length in ((CHAIN, 3), ("xb.health", 2), ("registry", 1)):
        rows = acts_of(issuing_session, chain)
        assert [row.number for row in rows] == list(range(1, length + 1))
        assert check_chain(rows) == chain_heads(issuing_session)[chain]
    check_all_chains(issuing_session)


def test_what_is_not_committed_leaves_no_link(issuing_session: Session) -> None:
    acts(issuing_session, 1)

    def fail_after_the_act() -> None:
        with transaction(issuing_session):
            act(issuing_session)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_after_the_act()
    acts(issuing_session, 1)
    assert [row.number for row in acts_of(issuing_session, CHAIN)] == [1, 2]
    check_all_chains(issuing_session)


def test_words_are_refused(issuing_session: Session) -> None:
    with pytest.raises(Malformed), transaction(issuing_session):
        record_operators_act(issuing_session, ActKind.KEY_ROTATED, {"key": "for Wang Fang"}, NOON)
    assert chain_heads(issuing_session) == {}


@pytest.mark.parametrize("counted", [True, False])
def test_many_at_once_make_one_chain_without_a_gap(
    counted: bool, issuing_url: str, issuing_session: Session
) -> None:
    def some_acts(worker: int) -> None:
        engine = open_database(issuing_url)
        with Session(engine) as session:
            for number in range(5):
                with transaction(session):
                    if counted:  # as whoever issues a code does: the count first, the chain last
                        count_one(session, CountKind.ISSUED, NOON)
                    act(session, chain=(CHAIN, "xb.health")[number % 2], number=worker)
        engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(some_acts, range(6)))
    assert len(acts_of(issuing_session, CHAIN)) == 18
    assert len(acts_of(issuing_session, "xb.health")) == 12
    check_all_chains(issuing_session)
    assert [day.issued for day in counts(issuing_session, date(2026, 6, 15))] == ([30] if counted else [])


@pytest.mark.parametrize(
    "tamper",
    [
        lambda row: delete(ActivityEvent).where(ActivityEvent.number == row.number),
        lambda row: (
            update(ActivityEvent)
            .where(ActivityEvent.number == row.number)
            .values(content=row.content.replace(b"code_issued", b"code_expired"))
        ),
        lambda row: update(ActivityEvent).where(ActivityEvent.number == row.number).values(hash=bytes(32)),
        lambda row: update(ActivityEvent).where(ActivityEvent.number == row.number).values(number=99),
        lambda row: update(ActivityChain).values(head=bytes(32)),
        lambda row: delete(ActivityChain),
        lambda row: delete(ActivityEvent).where(ActivityEvent.number >= row.number),
    ],
)
def test_whoever_changes_the_tables_is_noticed(
    issuing_session: Session, tamper: Callable[[ActivityEvent], object]
) -> None:
    acts(issuing_session, 5)
    check_all_chains(issuing_session)
    row = acts_of(issuing_session, CHAIN)[2]
    with transaction(issuing_session):
        issuing_session.execute(tamper(row))  # type: ignore[call-overload]
    issuing_session.expire_all()
    with pytest.raises(Distrusted, match="broken"):
        check_all_chains(issuing_session)


def test_a_chain_that_is_cleared_or_made_anew_is_noticed_by_its_anchors(issuing_session: Session) -> None:
    for day in range(3):
        acts(issuing_session, 2)
        anchored(issuing_session, NOON + day * DAY)
    check_all_chains(issuing_session)
    with transaction(issuing_session):
        issuing_session.execute(delete(ActivityEvent))
    with pytest.raises(Distrusted, match="lost what was anchored on 2026-06-15"):
        check_all_chains(issuing_session)
    with transaction(issuing_session):
        issuing_session.execute(delete(ActivityChain))
    for _ in range(6):
        with transaction(issuing_session):
            act(issuing_session, number=99)
    with pytest.raises(Distrusted, match="lost what was anchored on 2026-06-15"):
        check_all_chains(issuing_session)


# -------------------------------------------------------------------- anchors


def anchored(session: Session, now: float) -> bytes | None:
    with transaction(session):
        return due_anchor(session, now)


def test_a_days_heads_are_committed_to_once_and_repeated_until_they_are_logged(
    issuing_session: Session, clock: FakeClock
) -> None:
    acts(issuing_session, 2)
    commitment = anchored(issuing_session, clock())
    acts(issuing_session, 1)
    clock.advance(3600)
    assert anchored(issuing_session, clock()) == commitment, "later acts are the next day's"
    with transaction(issuing_session):
        mark_anchor_logged(issuing_session, date(2026, 6, 15), 2026, 41)
    assert anchored(issuing_session, clock()) is None
    row = newest_anchor(issuing_session)
    assert row is not None
    assert (row.day, row.log_year, row.leaf_number) == (date(2026, 6, 15), 2026, 41)
    assert activity_commitment(row.salt, row.heads) == commitment
    second = acts_of(issuing_session, CHAIN)[1]
    assert decode_heads(row.heads) == {CHAIN: second.hash}, "whoever has salt and heads can check the chain"


def test_every_day_has_its_own_anchor_and_no_two_are_alike(
    issuing_session: Session, clock: FakeClock
) -> None:
    made = set()
    for _ in range(3):
        made.add(anchored(issuing_session, clock()))
        clock.advance(DAY)
    assert None not in made
    assert len(made) == 3, "nothing happened, and nobody can tell"
    assert newest_anchor(issuing_session) is None, "none is known to be in the log"


def test_two_publishers_at_once_commit_to_the_same(issuing_url: str, issuing_session: Session) -> None:
    acts(issuing_session, 1)

    def ask(_number: int) -> bytes | None:
        engine = open_database(issuing_url)
        with Session(engine) as session:
            commitment = anchored(session, NOON)
        engine.dispose()
        return commitment

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert len(issuing_session.scalars(select(ActivityAnchor)).all()) == 1
