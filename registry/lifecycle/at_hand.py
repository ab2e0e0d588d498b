"""Part of authorizing: what the official who issued a code can still do with it.

Look at it again for a quarter of an hour, see whether it was used, let it live longer, end it. The code lies
sealed to a secret that only that browser's session can tell, so that neither the table nor another official
opens it. That a phone has used a code is told once in each quarter of an hour, for all codes at once
(`tell_claims`), and no time of it is kept: beside the statement it would lead to the batch of the upload.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of
from registry.lifecycle.authorize import (
    IssuedCode,
    IssuingPolicy,
    code_of,
    ended_at,
    life_of,
    record_of_code,
    rounded_expiry,
)
from registry.models import Authorization, BulkRow, ClaimsTold, CodeAtHand, VerificationCode
from registry.protocol.activity import ActKind
from registry.protocol.codes import CodeForm

AT_HAND_SECONDS = 900
MOST_CODE_DAYS = 5
"""After the UTC day of the statement no code of it is extended: a recall must find its upload in time."""

DELIVERY_UNKNOWN = "unknown"

_PLAIN_BYTES = 64
_NONCE_BYTES = 12
_KEY_LABEL = b"exposure-registry code at hand"
_LAST = "last"


@dataclass(frozen=True, slots=True)
class AtHand:
    """What can be looked at, until `shown_until` (unix seconds)."""

    code: str = field(repr=False)
    link_code: str = field(repr=False)
    shown_until: int


@dataclass(frozen=True, slots=True)
class OwnCode:
    """A code as its issuer may see it. Times in unix seconds, multiples of 900."""

    uuid: str
    form: CodeForm
    authorization: Authorization
    expires_at: int
    is_known_used: bool
    """Whether a phone had used it when claims were told last."""
    longest: int
    """By when it ends however often it is extended."""
    phone_made: bool
    """Whether the person's phone shows it, so that nobody has to read it out."""
    delivery: str | None = None
    """What became of the newest SMS with it, in the word of its row."""

    def is_over(self, now: float) -> bool:
        """Whether it can no longer be used, as far as its issuer is told."""
        return self.is_known_used or self.expires_at <= now


def keep_at_hand(session: Session, issued: IssuedCode, secret: bytes, now: float) -> None:
    """Seal a code that was issued in this transaction, for whoever has `secret` (32 unguessable bytes)."""
    nonce = os.urandom(_NONCE_BYTES)
    filled = f"{issued.code} {issued.link_code}".encode("ascii").ljust(_PLAIN_BYTES, b" ")
    sealed = nonce + AESGCM(_key(secret)).encrypt(nonce, filled, issued.uuid.encode())
    expires_at = rounded_expiry(now, AT_HAND_SECONDS)
    session.add(CodeAtHand(code_uuid=issued.uuid, sealed=sealed, expires_at=expires_at))
    session.flush()


def look_at(session: Session, uuid: str, secret: bytes, now: float) -> AtHand | None:
    """The code and its link's in clear; None if that is over, or not for this secret."""
    row = session.get(CodeAtHand, uuid)
    if row is None or row.expires_at <= now:
        return None
    nonce, sealed = row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:]
    try:
        codes = AESGCM(_key(secret)).decrypt(nonce, sealed, uuid.encode())
    except InvalidTag:
        # Issued in another session of the same official's, which alone can open it.
        return None
    code, link_code = codes.decode("ascii").split()
    return AtHand(code, link_code, row.expires_at)


def own_code(session: Session, uuid: str, *, official_id: str, authority_id: str) -> OwnCode:
    """A code of the official's own, read without a lock. Refuses with `code_not_found` for anything else."""
    row = code_of(session, uuid, authority_id=authority_id, official_id=official_id, lock=False)
    return _own(row, session.get_one(Authorization, row.authorization_id))


def own_codes(session: Session, *, official_id: str, authority_id: str) -> Sequence[OwnCode]:
    """All codes of the official's that are not forgotten yet, those that live longest first; without those
    from files, which have a result of their own."""
    found = session.execute(
        select(VerificationCode, Authorization)
        .join(Authorization, Authorization.id == VerificationCode.authorization_id)
        .where(
            Authorization.official_id == official_id,
            VerificationCode.authority_id == authority_id,
            ~exists().where(BulkRow.code_uuid == VerificationCode.uuid),
        )
        .order_by(VerificationCode.expires_at.desc(), VerificationCode.uuid)
    )
    return [_own(code, authorization) for code, authorization in found]


def extend_code(
    session: Session, uuid: str, *, official_id: str, authority_id: str, policy: IssuingPolicy, now: float
) -> int:
    """Let a code live as long from now as a new one of its kind, but not past `MOST_CODE_DAYS`; its expiry.

    It never ends sooner than before, and one of eight digits not later either. If it ends later, the act is
    appended to the authority's chain. Refuses with `code_not_found`, and with `code_expired` if it is over:
    what has ended cannot be brought back.
    """
    row = _not_over(session, uuid, official_id, authority_id, now)
    longest = _longest(row, session.get_one(Authorization, row.authorization_id))
    life = life_of(CodeForm(row.code_form), policy, phone_made=row.phone_made)
    wanted = min(rounded_expiry(now, life), longest)
    if wanted > row.expires_at:
        _end_at(session, row, wanted, ActKind.CODE_EXTENDED, official_id, now)
    return row.expires_at


def end_code(session: Session, uuid: str, *, official_id: str, authority_id: str, now: float) -> None:
    """End a code at once, and forget what lies at hand of it. The act is appended to the authority's chain.

    Should a phone have used it before, which is told later, nothing is undone: its issuer has to ask for a
    recall. Refuses as `extend_code` does.
    """
    row = _not_over(session, uuid, official_id, authority_id, now)
    session.execute(delete(CodeAtHand).where(CodeAtHand.code_uuid == row.uuid))
    _end_at(session, row, min(row.expires_at, ended_at(now)), ActKind.CODE_EXPIRED, official_id, now)


def begin_delivery(session: Session, uuid: str, *, official_id: str, authority_id: str, now: float) -> None:
    """Put on record that the code is about to go out by SMS, and that nobody knows yet whether it did.

    The act is appended to the authority's chain. Refuses as `extend_code` does.
    """
    row = _not_over(session, uuid, official_id, authority_id, now)
    row.delivery = DELIVERY_UNKNOWN
    session.flush()
    actor = actor_of(official_id=official_id, api_key_hash=None, authority_id=authority_id)
    record_of_code(session, ActKind.CODE_SENT, authority_id, actor, row.authorization_id, now)


def note_delivery(session: Session, uuid: str, word: str) -> None:
    """What became of the SMS that was begun, in the word that the code's row keeps."""
    session.execute(
        update(VerificationCode)
        .where(VerificationCode.uuid == uuid)
        .values(delivery=word)
        .execution_options(synchronize_session=False)
    )


def _not_over(
    session: Session, uuid: str, official_id: str, authority_id: str, now: float
) -> VerificationCode:
    row = code_of(session, uuid, authority_id=authority_id, official_id=official_id)
    # Not by whether it was used: that is told later.
    if row.claim_told or row.expires_at <= now:
        raise Refusal(RefusalCode.CODE_EXPIRED, "the code is over")
    return row


def _end_at(
    session: Session, row: VerificationCode, expires_at: int, kind: ActKind, official_id: str, now: float
) -> None:
    row.expires_at = expires_at
    session.flush()
    actor = actor_of(official_id=official_id, api_key_hash=None, authority_id=row.authority_id)
    record_of_code(session, kind, row.authority_id, actor, row.authorization_id, now)


def tell_claims(session: Session, now: float) -> bool:
    """Let the issuers of all codes that were used by now be told so, in the caller's transaction.

    It does so once in each quarter of an hour, however often it is called, and says whether it did; at its
    very first call not yet. So nothing that an official sees depends on when a phone called. What lies at
    hand no longer goes too.
    """
    quarter = int(now // AT_HAND_SECONDS)
    last = session.scalar(select(ClaimsTold).with_for_update())
    if last is None:
        session.add(ClaimsTold(name=_LAST, quarter=quarter))
        session.flush()
        return False
    if last.quarter >= quarter:
        return False
    last.quarter = quarter
    session.execute(
        update(VerificationCode)
        .where(VerificationCode.claimed, VerificationCode.claim_told.is_(False))
        .values(claim_told=True)
        .execution_options(synchronize_session=False)
    )
    session.execute(delete(CodeAtHand).where(CodeAtHand.expires_at <= now))
    session.flush()
    return True


def _own(row: VerificationCode, authorization: Authorization) -> OwnCode:
    return OwnCode(
        row.uuid,
        CodeForm(row.code_form),
        authorization,
        row.expires_at,
        row.claim_told,
        _longest(row, authorization),
        row.phone_made,
        row.delivery,
    )


def _longest(row: VerificationCode, authorization: Authorization) -> int:
    if row.code_form == CodeForm.SHORT:
        # It was given all that it may have: an hour, of which no row tells when it began.
        return row.expires_at
    begins = datetime.combine(authorization.stated_on, time(), UTC)
    return int((begins + timedelta(days=MOST_CODE_DAYS)).timestamp())


def _key(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_KEY_LABEL).derive(secret)
