"""Part of authorizing: which form an authority's codes have, how many there are to be guessed, and how many
wrong ones are tried.

How many guesses are looked at is `protocol.guessing`'s affair, and the device face's to keep to. What is kept
of them here is a number for each hour that has ended, and nothing of whom they came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.inserts import insert_into, table_of
from registry.models import Authority, VerificationCode, WrongCodeCount
from registry.protocol.activity import ActKind
from registry.protocol.codes import CodeForm


@dataclass(frozen=True, slots=True)
class WrongCodes:
    """Of one authority in one hour: wrong codes that were looked at, and tries that were refused unseen.

    `hour` is when it began, in unix seconds.
    """

    authority_id: str
    hour: int
    looked_at: int
    refused: int


def keep_wrong_codes(session: Session, counted: WrongCodes) -> None:
    """Add what one process counted in an hour that has ended, in the caller's transaction."""
    rows = table_of(WrongCodeCount)
    session.execute(
        insert_into(session, WrongCodeCount)
        .values(
            authority_id=counted.authority_id,
            hour=counted.hour,
            looked_at=counted.looked_at,
            refused=counted.refused,
        )
        .on_conflict_do_update(
            index_elements=["authority_id", "hour"],
            set_={
                "looked_at": rows.c.looked_at + counted.looked_at,
                "refused": rows.c.refused + counted.refused,
            },
        )
    )


def wrong_codes_since(session: Session, authority_id: str, since: float) -> tuple[int, int]:
    """(wrong codes that were looked at, tries that were refused unseen) in hours that began at `since` or
    later, as far as processes have told them: each does at the first try of its next hour."""
    looked_at, refused = session.execute(
        select(func.sum(WrongCodeCount.looked_at), func.sum(WrongCodeCount.refused)).where(
            WrongCodeCount.authority_id == authority_id, WrongCodeCount.hour >= since
        )
    ).one()
    return int(looked_at or 0), int(refused or 0)


def live_codes(session: Session, authority_id: str, now: float) -> Mapping[CodeForm, int]:
    """How many of the authority's codes a phone could use now, as far as it is told, by their form; forms
    without one left out."""
    found = session.execute(
        select(VerificationCode.code_form, func.count())
        .where(
            VerificationCode.authority_id == authority_id,
            VerificationCode.expires_at > now,
            # Not by whether it was used: who looked twice would see when a phone called.
            VerificationCode.claim_told.is_(False),
        )
        .group_by(VerificationCode.code_form)
    )
    return {CodeForm(form): count for form, count in found}


def can_be_guessed(session: Session, authority_id: str, now: float) -> bool:
    """Whether the authority issues codes of eight digits, or one that it did issue can be used."""
    if code_form_of(session, authority_id) is CodeForm.SHORT:
        return True
    short = (
        select(VerificationCode.uuid)
        .where(
            VerificationCode.authority_id == authority_id,
            VerificationCode.code_form == CodeForm.SHORT.value,
            VerificationCode.expires_at > now,
        )
        .limit(1)
    )
    return session.scalar(short) is not None


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
