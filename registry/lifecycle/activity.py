"""Officials' and operators' acts: appended to hash chains, and their heads committed to once a day.

`record_act` comes last in a transaction, after `count_one`: it locks the chain's head until the commit, and
whoever held that and then waited for another row could wait for one who waits for the head. Must never
record what a phone does, or anything of a patient's.
"""

import secrets
from collections.abc import Iterable, Mapping
from datetime import date

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from registry.errors import Distrusted, Malformed
from registry.lifecycle.inserts import insert_into
from registry.models import ActivityAnchor, ActivityChain, ActivityEvent
from registry.protocol.activity import (
    OPERATOR,
    OPERATORS_CHAIN,
    Act,
    ActKind,
    act_hash,
    activity_commitment,
    check_acts,
    decode_act,
    decode_heads,
    encode_act,
    encode_heads,
    hour_of,
)
from registry.protocol.intervals import utc_date

_SALT_BYTES = 32


def actor_of(*, official_id: str | None, api_key_hash: bytes | None, authority_id: str) -> str:
    """How an act names who did it: an official, else an API key, else only the authority it was done for."""
    if official_id is not None:
        return f"official:{official_id}"
    if api_key_hash is not None:
        return f"api-key:{api_key_hash.hex()}"
    return f"authority:{authority_id}"


def record_act(
    session: Session, *, chain: str, kind: str, actor: str, detail: Mapping[str, str | int], now: float
) -> None:
    """Append an act to the chain, in the caller's transaction: durable with what was done, or not at all.

    `kind` is an `ActKind`, `detail` holds ids and numbers. Of two transactions the second waits here for the
    first's end. Raises Malformed for what no act may hold.
    """
    number, head = _locked_head(session, chain)
    act = Act(chain, number + 1, kind, actor, hour_of(now), detail, head or None)
    content = encode_act(act)
    session.add(
        ActivityEvent(
            chain=chain, number=act.number, content=content, hash=act_hash(content), day=utc_date(now)
        )
    )
    session.execute(
        update(ActivityChain)
        .where(ActivityChain.chain == chain)
        .values(number=act.number, head=act_hash(content))
        .execution_options(synchronize_session=False)
    )


def record_operators_act(session: Session, kind: str, detail: Mapping[str, str | int], now: float) -> None:
    """Append what an operator's command did to the operator's chain, as `record_act` does."""
    record_act(session, chain=OPERATORS_CHAIN, kind=kind, actor=OPERATOR, detail=detail, now=now)


def chain_heads(session: Session) -> dict[str, bytes]:
    """Hash of the newest act of every chain that has one, by chain."""
    heads = session.execute(
        select(ActivityChain.chain, ActivityChain.head)
        .where(ActivityChain.number > 0)
        .order_by(ActivityChain.chain)
    )
    return {row.chain: row.head for row in heads}


def acts_of(session: Session, chain: str) -> list[ActivityEvent]:
    """All acts of the chain that are kept, oldest first."""
    return list(
        session.scalars(
            select(ActivityEvent).where(ActivityEvent.chain == chain).order_by(ActivityEvent.number)
        )
    )


def check_chain(events: Iterable[ActivityEvent]) -> bytes | None:
    """Hash of the newest of these acts of one chain, oldest first; None for none. See `check_acts`.

    Raises Distrusted at the first break, also where a row's columns say something else than its content.
    """
    rows = list(events)
    head = check_acts(row.content for row in rows)
    for row in rows:
        act = decode_act(row.content)
        if (act.chain, act.number, act_hash(row.content)) != (row.chain, row.number, row.hash):
            raise Distrusted(f"activity chain broken: the row of {row.chain} {row.number} is not its act's")
    return head


def check_all_chains(session: Session) -> None:
    """Check every chain from its oldest kept act to its head, and every kept anchor against the chains.

    Raises Distrusted at the first break. That an anchor is the one in the log is for whoever reads the log
    to check, by `activity_commitment`.
    """
    heads = chain_heads(session)
    for chain in _chains(session, heads):
        newest = check_chain(acts_of(session, chain))
        # A chain whose acts have all been retired goes on from its head.
        if newest is not None and newest != heads.get(chain):
            raise Distrusted(f"activity chain broken: the newest act of {chain} is not its head")
    known = known_heads(session)
    for anchor in session.scalars(select(ActivityAnchor).order_by(ActivityAnchor.day)):
        for chain, head in decode_heads(anchor.heads).items():
            if head not in known.get(chain, ()):
                raise Distrusted(f"activity chain broken: {chain} has lost what was anchored on {anchor.day}")


def known_heads(session: Session) -> dict[str, set[bytes | None]]:
    """By chain, every hash that an anchor may name: those of kept acts, and of the last act that has gone.

    Acts are kept as long as anchors, and a chain that was silent for so long goes on from its head.
    """
    heads = chain_heads(session)
    known: dict[str, set[bytes | None]] = {}
    for chain in _chains(session, heads):
        rows = acts_of(session, chain)
        first = _readable(rows[0]) if rows else None
        before = first.previous if first is not None else None if rows else heads[chain]
        known[chain] = {before, *(row.hash for row in rows)}
    return known


def _readable(row: ActivityEvent) -> Act | None:
    """The act; None for one that somebody has changed, which `check_chain` tells."""
    try:
        return decode_act(row.content)
    except Malformed:
        return None


def _chains(session: Session, heads: Mapping[str, bytes]) -> list[str]:
    """Every chain that has a head or an act."""
    return sorted({*session.scalars(select(ActivityEvent.chain).distinct()), *heads})


def due_anchor(session: Session, now: float) -> bytes | None:
    """The commitment that the log must get today (UTC), in the caller's transaction; None if it has it.

    The first call of a day fixes the heads as they are then. Until `mark_anchor_logged` is called every
    further call returns the same commitment: a crash between the leaf and the mark is mended by looking
    whether the log has it.
    """
    day = utc_date(now)
    session.execute(
        insert_into(session, ActivityAnchor)
        .values(day=day, salt=secrets.token_bytes(_SALT_BYTES), heads=encode_heads(chain_heads(session)))
        .on_conflict_do_nothing()
    )
    anchor = session.execute(
        select(ActivityAnchor.salt, ActivityAnchor.heads, ActivityAnchor.leaf_number).where(
            ActivityAnchor.day == day
        )
    ).one()
    return activity_commitment(anchor.salt, anchor.heads) if anchor.leaf_number is None else None


def mark_anchor_logged(session: Session, day: date, year: int, number: int) -> None:
    """Note that the day's commitment is leaf `number` of the shard `year`, in the caller's transaction."""
    session.execute(
        update(ActivityAnchor)
        .where(ActivityAnchor.day == day)
        .values(log_year=year, leaf_number=number)
        .execution_options(synchronize_session=False)
    )


def mark_anchor_lost(session: Session, now: float, year: int, number: int) -> None:
    """Put on record, once a day, that the log's anchor of today (UTC) is not one that this database knows.

    So it is after a backup of before that anchor was restored: acts of in between are lost, and what leaf
    `number` of the shard `year` commits to can be opened no more. In the caller's transaction.
    """
    day = utc_date(now)
    marked = session.execute(
        update(ActivityAnchor)
        .where(ActivityAnchor.day == day, ActivityAnchor.leaf_number.is_(None))
        .values(log_year=year, leaf_number=number)
        .returning(ActivityAnchor.day)
        .execution_options(synchronize_session=False)
    ).all()
    if marked:
        detail: dict[str, str | int] = {"day": day.isoformat(), "leaf": number, "year": year}
        record_operators_act(session, ActKind.ANCHOR_LOST, detail, now)


def lost_anchors(session: Session) -> dict[tuple[int, int], Act]:
    """The acts by which an anchor's heads are lost, by the (year, number) of its leaf."""
    acts = map(_readable, acts_of(session, OPERATORS_CHAIN))
    return {
        (int(act.detail["year"]), int(act.detail["leaf"])): act
        for act in acts
        if act is not None and act.kind == ActKind.ANCHOR_LOST
    }


def record_policy_change(session: Session, now: float, sequence: int) -> None:
    """Put on record, once a number, that trust material `sequence` says something new; by the caller."""
    acts = filter(None, map(_readable, reversed(acts_of(session, OPERATORS_CHAIN))))
    newest = next((act for act in acts if act.kind == ActKind.POLICY_CHANGED), None)
    if newest is not None and newest.detail.get("sequence") == sequence:
        return
    record_operators_act(session, ActKind.POLICY_CHANGED, {"sequence": sequence}, now)


def newest_anchor(session: Session) -> ActivityAnchor | None:
    """The anchor of the newest day whose leaf is known to be in the log."""
    newest = select(func.max(ActivityAnchor.day)).where(ActivityAnchor.leaf_number.is_not(None))
    return session.scalar(select(ActivityAnchor).where(ActivityAnchor.day == newest.scalar_subquery()))


def _locked_head(session: Session, chain: str) -> tuple[int, bytes]:
    """Number and hash of the chain's newest act, (0, nothing) for a new chain; its row locked either way."""
    head = select(ActivityChain.number, ActivityChain.head).where(ActivityChain.chain == chain)
    found = session.execute(head.with_for_update()).one_or_none()
    if found is None:
        # Another transaction may make the same row now: then this waits for it and finds it below.
        session.execute(
            insert_into(session, ActivityChain)
            .values(chain=chain, number=0, head=b"")
            .on_conflict_do_nothing()
        )
        found = session.execute(head.with_for_update()).one()
    return found.number, found.head
