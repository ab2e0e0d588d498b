"""Part of authorizing: which form an authority's codes have, and how many there are to be guessed.

How many guesses are looked at is `protocol.guessing`'s affair, and the device face's to keep to.
"""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.lifecycle.activity import actor_of, record_act
from registry.models import Authority, VerificationCode
from registry.protocol.activity import ActKind
from registry.protocol.codes import CodeForm


def live_codes(session: Session, authority_id: str, now: float) -> Mapping[CodeForm, int]:
    """How many of the authority's codes a phone could use now, by their form; forms without one left out."""
    found = session.execute(
        select(VerificationCode.code_form, func.count())
        .where(
            VerificationCode.authority_id == authority_id,
            VerificationCode.expires_at > now,
            VerificationCode.claimed.is_(False),
        )
        .group_by(VerificationCode.code_form)
    )
    return {CodeForm(form): count for form, count in found}


def code_form_of(session: Session, authority_id: str) -> CodeForm:
    """Of the codes that the authority issues from now on."""
    return CodeForm(session.get_one(Authority, authority_id).code_form)


def choose_code_form(
    session: Session, form: CodeForm, *, authority_id: str, official_id: str, now: float
) -> bool:
    """Let the authority's codes have another form from now on, in the caller's transaction; False if they
    have it. The act is appended to the authority's chain. Codes that were handed out stay as they are.
    """
    authority = session.get_one(Authority, authority_id, with_for_update=True)
    if authority.code_form == form:
        return False
    authority.code_form = form.value
    session.flush()
    actor = actor_of(official_id=official_id, api_key_hash=None, authority_id=authority_id)
    detail: dict[str, str | int] = {"authority": authority_id, "form": form.value}
    kind = ActKind.CODE_FORM_CHANGED
    record_act(session, chain=authority_id, kind=kind, actor=actor, detail=detail, now=now)
    return True
