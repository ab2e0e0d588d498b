"""Part of authorizing: more codes for one day, which one official asks for and another approves.

Asked for on the day that it is for, and over with it. Each step is on record.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import NotToBeDecided, Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.quota import QuotaPolicy, add_to_quota, quota_of
from registry.models import SurgeRequest
from registry.models.quota import SurgeState
from registry.protocol.activity import ActKind
from registry.protocol.intervals import utc_date


def largest_surge(
    session: Session, authority_id: str, official_id: str | None, policy: QuotaPolicy, now: float
) -> int:
    """How many more codes may be asked for at once: as many again as today's quota, and one of none."""
    return max(1, quota_of(session, authority_id, official_id, policy, now).most)


def ask_surge(
    session: Session,
    *,
    authority_id: str,
    asked_by: str,
    is_for_all: bool,
    amount: int,
    policy: QuotaPolicy,
    now: float,
) -> str:
    """Put a request on record, in the caller's transaction; its id. Nothing changes before the decision.

    Refuses with `bad_request` an amount that is none, or more than `largest_surge`.
    """
    most = largest_surge(session, authority_id, None if is_for_all else asked_by, policy, now)
    if not 1 <= amount <= most:
        raise Refusal(RefusalCode.BAD_REQUEST, f"ask for 1 to {most} codes")
    request = SurgeRequest(
        id=str(uuid.uuid4()),
        authority_id=authority_id,
        day=utc_date(now),
        is_for_all=is_for_all,
        amount=amount,
        state=SurgeState.ASKED.value,
        asked_by=asked_by,
    )
    session.add(request)
    session.flush()
    _record(session, request, ActKind.SURGE_ASKED, asked_by, now)
    return request.id


def decide_surge(
    session: Session,
    request_id: str,
    *,
    authority_id: str,
    official_id: str,
    approve: bool,
    policy: QuotaPolicy,
    now: float,
) -> None:
    """Approve or refuse it, in the caller's transaction. Approved codes are there from its commit on.

    Raises NotToBeDecided if it is not there, decided, of another day, or this official's own.
    """
    request = session.scalar(
        select(SurgeRequest)
        .filter_by(id=request_id, authority_id=authority_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if request is None or not may_decide_surge(request, official_id, now):
        raise NotToBeDecided("this request is decided already, or not for this official to decide")
    request.state = (SurgeState.APPROVED if approve else SurgeState.REFUSED).value
    request.decided_by = official_id
    session.flush()
    if approve:
        add_to_quota(
            session,
            authority_id,
            None if request.is_for_all else request.asked_by,
            request.amount,
            policy=policy,
            now=now,
        )
    kind = ActKind.SURGE_APPROVED if approve else ActKind.SURGE_REFUSED
    _record(session, request, kind, official_id, now)


def may_decide_surge(request: SurgeRequest, official_id: str, now: float) -> bool:
    """Whether it is still open, for today, and somebody else's."""
    is_open = request.state == SurgeState.ASKED.value and request.day == utc_date(now)
    return is_open and request.asked_by != official_id


def surges_of_today(session: Session, authority_id: str, now: float) -> Sequence[SurgeRequest]:
    """All requests of the day, in no order that tells when they were made."""
    return session.scalars(
        select(SurgeRequest)
        .filter_by(authority_id=authority_id, day=utc_date(now))
        .order_by(SurgeRequest.state, SurgeRequest.id)
    ).all()


def _record(session: Session, request: SurgeRequest, kind: ActKind, official_id: str, now: float) -> None:
    record_act(
        session,
        chain=request.authority_id,
        kind=kind,
        actor=actor_of(official_id=official_id, api_key_hash=None, authority_id=request.authority_id),
        detail={
            "surge": request.id,
            "amount": request.amount,
            "whose": "authority" if request.is_for_all else f"official:{request.asked_by}",
        },
        now=now,
    )
