"""Codes on paper, for wards without phones: ten on a sheet, each good for one sign-in to hand over codes.

A sheet voids the one before. A code is 80 random bits, so nobody finds one by trying: a billion tries against
a million live codes hit one in a billion times. In the caller's transaction.
"""

import math
import secrets

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from registry.errors import OfficialsRefused, OfficialsRule
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.authorize import hash_printed_code
from registry.lifecycle.officials import official_of
from registry.models import Official, PrintedCode
from registry.models.official import EXPIRY_GRAIN_SECONDS, Permission, Role
from registry.protocol.activity import ActKind

SHEET = 10
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""32 signs; none that is taken for another on paper (I, O, 0, 1)."""
LENGTH = 16
SHEET_LIFE_SECONDS = 90 * 86_400


def make_sheet(
    session: Session, official_id: str, *, by: str, authority_id: str, lookup_key: bytes, now: float
) -> list[str]:
    """Ten fresh codes for the official, known now or never; those from before open nothing.

    Whoever makes it, for themselves or for others, may hand over codes too: nobody gives what they do not
    have. Raises OfficialsRefused.
    """
    person = official_of(session, official_id, authority_id)
    maker = official_of(session, by, authority_id)
    if person is None or person.disabled or person.role != Role.OFFICIAL.value:
        raise OfficialsRefused(OfficialsRule.UNKNOWN)
    if maker is None or maker.disabled:
        raise OfficialsRefused(OfficialsRule.NOT_PERMITTED)
    if by != official_id and Permission.OFFICIALS not in maker.permissions:
        raise OfficialsRefused(OfficialsRule.NOT_PERMITTED)
    if Permission.ISSUE not in maker.permissions or Permission.ISSUE not in person.permissions:
        raise OfficialsRefused(OfficialsRule.BEYOND_OWN)
    session.execute(delete(PrintedCode).where(PrintedCode.official_id == official_id))
    codes = ["".join(secrets.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(SHEET)]
    expires_at = math.ceil((now + SHEET_LIFE_SECONDS) / EXPIRY_GRAIN_SECONDS) * EXPIRY_GRAIN_SECONDS
    session.add_all(
        PrintedCode(
            code_hash=hash_printed_code(lookup_key, code), official_id=official_id, expires_at=expires_at
        )
        for code in codes
    )
    session.flush()
    actor = actor_of(official_id=by, api_key_hash=None, authority_id=authority_id)
    detail: dict[str, str | int] = {"official": official_id, "codes": SHEET}
    record_act(
        session, chain=authority_id, kind=ActKind.PRINTED_CODES_MADE, actor=actor, detail=detail, now=now
    )
    return codes


def redeem_printed_code(session: Session, text: str, *, lookup_key: bytes, now: float) -> str | None:
    """Use a code up, however it is spelled: whose it is. None, and nothing written, if it opens nothing."""
    code = "".join(text.upper().replace("-", "").split())
    if len(code) != LENGTH or not set(code) <= set(ALPHABET):
        return None
    may_come_in = [
        official.id
        for official in session.scalars(
            select(Official)
            .join(PrintedCode, PrintedCode.official_id == Official.id)
            .where(PrintedCode.code_hash == hash_printed_code(lookup_key, code), PrintedCode.expires_at > now)
        )
        if not official.disabled and Permission.ISSUE in official.permissions
    ]
    # One statement uses it up or finds it used: of two browsers at once, one gets in.
    return session.scalar(
        delete(PrintedCode)
        .where(
            PrintedCode.code_hash == hash_printed_code(lookup_key, code),
            PrintedCode.official_id.in_(may_come_in),
        )
        .returning(PrintedCode.official_id)
        .execution_options(synchronize_session=False)
    )


def printed_codes_left(session: Session, official_id: str, now: float) -> int:
    """How many codes of the official's sheet still open something."""
    wanted = select(func.count()).where(PrintedCode.official_id == official_id, PrintedCode.expires_at > now)
    return session.scalar(wanted) or 0
