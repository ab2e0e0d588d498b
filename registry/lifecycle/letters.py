"""Part of recalling: a letter with a code, by which a person alone takes back what they shared.

Taking back must be as easy as giving, for somebody without the phone too. The code of the letter is a key:
when the code for the upload is used, what leads to the upload is sealed to it as well. So no official has to
agree, none can open it with what lies here, and whoever finds the letter learns nothing by it. Its use is an
order like any other, approved by the person. Must never keep a letter's code, or tell whether anything was
uploaded.
"""

import secrets
import uuid

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.authorize import code_of, hash_code
from registry.lifecycle.recall_orders import end_what_is_under_way
from registry.models import Authorization, RecallOrder, VerificationCode, WithdrawalLetter
from registry.models.recall import RecallReason, RecallState
from registry.protocol.activity import ActKind
from registry.protocol.codes import new_link_code, normalise
from registry.protocol.intervals import utc_date
from registry.protocol.recall import open_handle, seal_handle

_KEY_LABEL = b"exposure-registry letter of withdrawal v1"
_ANY_AUTHORITY = "letter"
"""In a letter's hash stands no authority: whoever holds the letter need not know which one it was."""


def make_letter(
    session: Session,
    code_uuid: str,
    *,
    official_id: str,
    authority_id: str,
    lookup_key: bytes,
    recall_key: X25519PrivateKey,
    now: float,
) -> str:
    """The 26 characters of a new letter for the person who got this code; an earlier letter is void.

    Should the code have been used already, what leads to the upload is sealed anew, by the key that opens
    it: the answer is the same either way. The act is appended to the authority's chain, in the caller's
    transaction. Refuses with `code_not_found` for a code that the official did not issue.
    """
    row = code_of(session, code_uuid, authority_id=authority_id, official_id=official_id)
    authorization = session.get_one(Authorization, row.authorization_id)
    letter_code = new_link_code(secrets.randbelow)
    public_key = _key_in(letter_code).public_key()
    letter = session.get(WithdrawalLetter, authorization.id)
    if letter is None:
        letter = WithdrawalLetter(authorization_id=authorization.id)
        session.add(letter)
    letter.code_hash = hash_code(lookup_key, _ANY_AUTHORITY, letter_code)
    letter.public_key = public_key.public_bytes_raw()
    letter.sealed = None
    if authorization.recall_sealed is not None:
        handle = open_handle(authorization.recall_sealed, recall_key, authorization.id)
        letter.sealed = seal_handle(handle, public_key, authorization.id)
    session.flush()
    actor = actor_of(official_id=official_id, api_key_hash=None, authority_id=authority_id)
    detail = {"authorization": authorization.id}
    record_act(session, chain=authority_id, kind=ActKind.LETTER_MADE, actor=actor, detail=detail, now=now)
    return letter_code


def seal_to_letter(session: Session, authorization_id: str, handle: bytes) -> None:
    """The code for the upload is being used: let the letter, if there is one, lead to the upload too."""
    letter = session.get(WithdrawalLetter, authorization_id)
    if letter is not None:
        key = X25519PublicKey.from_public_bytes(letter.public_key)
        letter.sealed = seal_handle(handle, key, authorization_id)


def withdraw_by_letter(session: Session, letter_code: str, *, lookup_key: bytes, now: float) -> None:
    """Recall what the person shared, before the next publishing; in the caller's transaction.

    What was not used yet ends. The letter is used up, and the act is on record without anybody's name.
    Refuses with `code_invalid` for anything but the code of a letter that is good.
    """
    good = select(WithdrawalLetter).filter_by(code_hash=hash_code(lookup_key, _ANY_AUTHORITY, letter_code))
    letter = session.scalar(good)
    if letter is not None:
        # The code first and then its letter, as whoever uses the code does: no two wait for each other.
        code = select(VerificationCode.uuid).filter_by(authorization_id=letter.authorization_id)
        session.execute(code.with_for_update())
        letter = session.scalar(good.with_for_update().execution_options(populate_existing=True))
    if letter is None:
        raise Refusal(RefusalCode.CODE_INVALID, "no letter that is good has this code")
    authorization = session.get_one(Authorization, letter.authorization_id)
    handles = b""
    if letter.sealed is not None:
        handles = open_handle(letter.sealed, _key_in(letter_code), authorization.id)
    order = RecallOrder(
        id=str(uuid.uuid4()),
        authority_id=authorization.authority_id,
        authorization_id=authorization.id,
        reason=RecallReason.CONSENT_WITHDRAWN.value,
        state=RecallState.APPROVED.value,
        asked_by=None,
        asked_on=utc_date(now),
        decided_on=utc_date(now),
        handles=handles,
        uploads=1 if handles else 0,
    )
    session.add(order)
    session.delete(letter)
    end_what_is_under_way(session, order, [handles] if handles else [], now)
    session.flush()
    record_act(
        session,
        chain=order.authority_id,
        kind=ActKind.LETTER_USED,
        actor=actor_of(official_id=None, api_key_hash=None, authority_id=order.authority_id),
        detail={"order": order.id, "authorization": authorization.id},
        now=now,
    )


def _key_in(letter_code: str) -> X25519PrivateKey:
    material = normalise(letter_code).encode()
    secret = HKDF(algorithm=SHA256(), length=32, salt=None, info=_KEY_LABEL).derive(material)
    return X25519PrivateKey.from_private_bytes(secret)
