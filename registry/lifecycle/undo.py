"""Part of authorizing: a code that could not be handed over is undone, as if it had never been.

Code, statement, what lies at hand and the count go, and the handle is free again. What stays are two acts in
the authority's chain, that it was issued and that it was undone: a chain forgets nothing.
"""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.lifecycle.activity import actor_of
from registry.lifecycle.authorize import record_of_code
from registry.lifecycle.counts import CountKind, uncount_one
from registry.lifecycle.quota import refund_one
from registry.models import Authorization, CodeAtHand, VerificationCode
from registry.protocol.activity import ActKind


def undo_code(session: Session, uuid: str, *, now: float, is_our_fault: bool = True) -> bool:
    """Whether the code is undone; False, and nothing written, if a phone has used it: then it arrived.

    What it took from the day's quotas is given back if `is_our_fault`, and not where the number was refused.
    The act, if a person's or a system's issuing was on record, comes last in the caller's transaction.
    """
    # Locked: a phone that claims the code now is before or after this, never in between.
    code = session.scalar(select(VerificationCode).filter_by(uuid=uuid).with_for_update())
    if code is None:
        return True
    if code.claimed:
        return False
    statement = session.get_one(Authorization, code.authorization_id)
    authority_id, issuer = statement.authority_id, (statement.official_id, statement.api_key_hash)
    if is_our_fault and not statement.is_self_report:
        refund_one(session, statement)
    statement_id, day, is_self_report = statement.id, statement.stated_on, statement.is_self_report
    session.execute(delete(CodeAtHand).where(CodeAtHand.code_uuid == uuid))
    session.execute(delete(VerificationCode).where(VerificationCode.uuid == uuid))
    session.execute(delete(Authorization).where(Authorization.id == statement_id))
    uncount_one(session, CountKind.ISSUED, day)
    if not is_self_report:
        actor = actor_of(official_id=issuer[0], api_key_hash=issuer[1], authority_id=authority_id)
        record_of_code(session, ActKind.CODE_UNDONE, authority_id, actor, statement_id, now)
    return True
