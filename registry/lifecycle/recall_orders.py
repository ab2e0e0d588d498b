"""Part of recalling, in the issuing half: what is asked for, who decides, and what is handed over.

Two people, always: whoever asked cannot decide. Nor can an official decide of whom all statements are meant,
for that order is about the official; an order for one statement is about a mistake, which its author knows
best, and somebody else has asked. Only an approval opens handles; they lie with the order until the
collecting half has done it, and then are destroyed. Each step is an act in the authority's chain, of ids and
counts alone. Must never learn what was found at the other half.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from registry.errors import NothingToRecall, NotToBeDecided
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.authorize import ended_at
from registry.models import Authorization, RecallOrder, VerificationCode, VerificationToken
from registry.models.recall import RecallReason, RecallState
from registry.protocol.activity import OPERATOR, ActKind
from registry.protocol.intervals import utc_date
from registry.protocol.recall import HANDLE_BYTES, open_handle

_AT_ONCE = 500
"""Rows named in one statement."""


@dataclass(frozen=True, slots=True)
class RecallSelector:
    """What is meant: one statement, or all of somebody's between two UTC days, both inclusive.

    Days, because of a statement no finer time is kept: everything of those days is recalled.
    """

    authorization_id: str | None = None
    official_id: str | None = None
    api_key_hash: bytes | None = None
    external_issuer_id: str | None = None
    stated_from: date | None = None
    stated_to: date | None = None


def ask_recall(
    session: Session,
    selector: RecallSelector,
    reason: RecallReason,
    *,
    authority_id: str,
    asked_by: str | None,
    now: float,
) -> str:
    """Put an order on record, in the caller's transaction; its id. `asked_by` is none for an operator.

    It changes nothing yet. Raises NothingToRecall if the authority has no such statement, or an order for
    the one statement is open already.
    """
    order = RecallOrder(
        id=str(uuid.uuid4()),
        authority_id=authority_id,
        authorization_id=selector.authorization_id,
        official_id=selector.official_id,
        api_key_hash=selector.api_key_hash,
        external_issuer_id=selector.external_issuer_id,
        stated_from=selector.stated_from,
        stated_to=selector.stated_to,
        reason=reason.value,
        state=RecallState.ASKED.value,
        asked_by=asked_by,
        asked_on=utc_date(now),
    )
    if not statements_meant(session, order):
        raise NothingToRecall("there is no such statement here")
    if order.authorization_id is not None and _is_open(session, order):
        raise NothingToRecall("a recall of this statement is under way already")
    session.add(order)
    session.flush()
    _record(session, order, ActKind.RECALL_ASKED, _actor(order.asked_by), now)
    return order.id


def approve_recall(
    session: Session, order_id: str, *, authority_id: str, official_id: str, key: X25519PrivateKey, now: float
) -> int:
    """Open the handles of what an order means and hand them over; how many. In the caller's transaction.

    What no phone has used yet ends here: codes, and tokens without a certificate. Raises NotToBeDecided, and
    Distrusted for a sealed handle that is not to be opened with `key`.
    """
    order = _to_decide(session, order_id, authority_id, official_id)
    rows = session.execute(
        select(Authorization.id, Authorization.recall_sealed)
        .where(_means(order), Authorization.recall_sealed.is_not(None))
        .order_by(Authorization.id)
    )
    handles = sorted(open_handle(row.recall_sealed, key, row.id) for row in rows)
    end_what_is_under_way(session, order, handles, now)
    order.state, order.handles, order.uploads = RecallState.APPROVED.value, b"".join(handles), len(handles)
    order.decided_by, order.decided_on = official_id, utc_date(now)
    _record(session, order, ActKind.RECALL_APPROVED, _actor(official_id), now)
    return len(handles)


def end_what_is_under_way(session: Session, order: RecallOrder, handles: Sequence[bytes], now: float) -> None:
    """What no phone has finished ends: codes of the statements meant, and tokens that have these handles."""
    session.execute(
        update(VerificationCode)
        .where(
            VerificationCode.authorization_id.in_(select(Authorization.id).where(_means(order))),
            # Claimed or not: to a used code it means nothing, and its page must not tell which it is.
            VerificationCode.expires_at > ended_at(now),
        )
        .values(expires_at=ended_at(now))
        .execution_options(synchronize_session=False)
    )
    for place in range(0, len(handles), _AT_ONCE):
        some = VerificationToken.recall_handle.in_(handles[place : place + _AT_ONCE])
        session.execute(delete(VerificationToken).where(some).execution_options(synchronize_session=False))


def refuse_recall(
    session: Session, order_id: str, *, authority_id: str, official_id: str, now: float
) -> None:
    """Nothing is recalled, and no handle opened; in the caller's transaction. Raises NotToBeDecided."""
    order = _to_decide(session, order_id, authority_id, official_id)
    order.state = RecallState.REFUSED.value
    order.decided_by, order.decided_on = official_id, utc_date(now)
    _record(session, order, ActKind.RECALL_REFUSED, _actor(official_id), now)


def approved_recalls(session: Session) -> list[tuple[str, list[bytes]]]:
    """(id, handles) of every order that is approved and not done."""
    orders = session.execute(
        select(RecallOrder.id, RecallOrder.handles)
        .where(RecallOrder.state == RecallState.APPROVED.value)
        .order_by(RecallOrder.id)
    )
    return [(row.id, _handles_in(row.handles or b"")) for row in orders]


def recall_done(session: Session, order_id: str, now: float) -> None:
    """The collecting half has done it: destroy the handles. In the caller's transaction; twice is once."""
    order = session.scalar(
        select(RecallOrder)
        .where(RecallOrder.id == order_id, RecallOrder.state == RecallState.APPROVED.value)
        .with_for_update()
    )
    if order is None:
        return
    order.state, order.handles = RecallState.DONE.value, None
    _record(session, order, ActKind.RECALL_DONE, OPERATOR, now)


def recall_order(session: Session, order_id: str, authority_id: str) -> RecallOrder | None:
    """The authority's order of this id."""
    return session.scalar(select(RecallOrder).filter_by(id=order_id, authority_id=authority_id))


def recall_orders(session: Session, authority_id: str, *, most: int) -> list[RecallOrder]:
    """The authority's orders, those that wait for a decision first, then by day, the newest first."""
    waits = RecallOrder.state == RecallState.ASKED.value
    return list(
        session.scalars(
            select(RecallOrder)
            .where(RecallOrder.authority_id == authority_id)
            .order_by(waits.desc(), RecallOrder.asked_on.desc(), RecallOrder.id)
            .limit(most)
        )
    )


def statements_meant(session: Session, order: RecallOrder) -> int:
    """How many statements the order means at present, used or not."""
    return session.scalar(select(func.count()).select_from(Authorization).where(_means(order))) or 0


def may_decide(order: RecallOrder, official_id: str) -> bool:
    """Not who asked, nor the official of whom all is meant; the author of the one statement may."""
    return order.state == RecallState.ASKED and official_id not in (order.asked_by, order.official_id)


def statement_of(session: Session, authorization_id: str, authority_id: str) -> Authorization | None:
    """The authority's statement of this number."""
    return session.scalar(select(Authorization).filter_by(id=authorization_id, authority_id=authority_id))


def outside_issuers(session: Session, authority_id: str) -> list[str]:
    """Every outside issuer of whom the authority has a statement, in order."""
    return list(
        session.scalars(
            select(Authorization.external_issuer_id)
            .where(Authorization.authority_id == authority_id, Authorization.external_issuer_id.is_not(None))
            .distinct()
            .order_by(Authorization.external_issuer_id)
        )
    )


def own_statements(session: Session, official_id: str, since: date, *, most: int) -> Sequence[Authorization]:
    """What the official stated on `since` (UTC) or later, the newest day first, and no more than `most`."""
    return session.scalars(
        select(Authorization)
        .where(Authorization.official_id == official_id, Authorization.stated_on >= since)
        .order_by(Authorization.stated_on.desc(), Authorization.id)
        .limit(most)
    ).all()


def _means(order: RecallOrder) -> ColumnElement[bool]:
    """Which statements an order means: never another authority's, and nothing if it names nobody."""
    if order.authorization_id is not None:
        who: ColumnElement[bool] = Authorization.id == order.authorization_id
        return and_(Authorization.authority_id == order.authority_id, who)
    whose = [
        column == value
        for column, value in (
            (Authorization.official_id, order.official_id),
            (Authorization.api_key_hash, order.api_key_hash),
            (Authorization.external_issuer_id, order.external_issuer_id),
        )
        if value is not None
    ]
    if not whose or order.stated_from is None or order.stated_to is None:
        raise ValueError("an order names one statement, or somebody and two days")
    return and_(
        Authorization.authority_id == order.authority_id,
        Authorization.stated_on.between(order.stated_from, order.stated_to),
        or_(*whose),
    )


def _is_open(session: Session, order: RecallOrder) -> bool:
    open_states = (RecallState.ASKED.value, RecallState.APPROVED.value)
    same = select(RecallOrder.id).where(
        RecallOrder.authorization_id == order.authorization_id, RecallOrder.state.in_(open_states)
    )
    return session.scalars(same).first() is not None


def _to_decide(session: Session, order_id: str, authority_id: str, official_id: str) -> RecallOrder:
    # Locked: of two who decide at once the second finds it decided.
    order = session.scalar(
        select(RecallOrder)
        .filter_by(id=order_id, authority_id=authority_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if order is None or not may_decide(order, official_id):
        raise NotToBeDecided("this order is decided already, or not for this official to decide")
    return order


def _handles_in(joined: bytes) -> list[bytes]:
    return [joined[place : place + HANDLE_BYTES] for place in range(0, len(joined), HANDLE_BYTES)]


def _actor(official_id: str | None) -> str:
    if official_id is None:
        return OPERATOR
    return actor_of(official_id=official_id, api_key_hash=None, authority_id="")


def _record(session: Session, order: RecallOrder, kind: ActKind, actor: str, now: float) -> None:
    """An outside issuer's name is free text, which no act may hold: the order's id leads to it."""
    named: dict[str, str | int | None] = {
        "order": order.id,
        "authorization": order.authorization_id,
        "official": order.official_id,
        "api_key": None if order.api_key_hash is None else order.api_key_hash.hex(),
        "from": None if order.stated_from is None else order.stated_from.isoformat(),
        "to": None if order.stated_to is None else order.stated_to.isoformat(),
        "reason": order.reason,
        "uploads": order.uploads,
    }
    detail = {name: value for name, value in named.items() if value is not None}
    session.flush()
    record_act(session, chain=order.authority_id, kind=kind, actor=actor, detail=detail, now=now)
