"""Officials' passkeys: enrolled, asked for, removed; each an act on record, in the caller's transaction.

WebAuthn Level 3, with user verification always: a passkey is two factors. Whoever answers is found by the
credential alone. No attestation is asked for: it would tell which device an official carries.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from registry.errors import LastPasskey, ProofRefused
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.inserts import insert_into
from registry.models import Official, Passkey, SpentChallenge
from registry.models.official import EXPIRY_GRAIN_SECONDS, Role
from registry.protocol.activity import ActKind
from registry.protocol.intervals import utc_date

CHALLENGE_SECONDS = 300
MOST_PASSKEYS = 20
LONGEST_LABEL = 60


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who asks for passkeys: the host that they are bound to, and the one origin that may ask."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser brought: the credential as JSON, and the challenge that it was to answer, 32 bytes."""

    credential: str
    challenge: bytes


def enrolment_options(
    session: Session, party: RelyingParty, official: Official, challenge: bytes, name: str
) -> str:
    """JSON for `navigator.credentials.create`. `name` is the registry's."""
    known = session.scalars(select(Passkey.credential_id).where(Passkey.official_id == official.id))
    return options_to_json(
        generate_registration_options(
            rp_id=party.id,
            rp_name=name,
            user_id=official.id.encode(),
            user_name=official.name,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=each) for each in known],
        )
    )


def sign_in_options(
    session: Session, party: RelyingParty, challenge: bytes, official_id: str | None = None
) -> str:
    """JSON for `navigator.credentials.get`: for any passkey, or one of the official's."""
    wanted: Sequence[bytes] = ()
    if official_id is not None:
        wanted = session.scalars(
            select(Passkey.credential_id).where(Passkey.official_id == official_id)
        ).all()
    return options_to_json(
        generate_authentication_options(
            rp_id=party.id,
            challenge=challenge,
            allow_credentials=[PublicKeyCredentialDescriptor(id=each) for each in wanted],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def enrol(
    session: Session, party: RelyingParty, official: Official, answer: Answer, label: str, now: float
) -> None:
    """Keep a fresh passkey of the official's. Raises ProofRefused."""
    spend(session, answer.challenge, now)
    try:
        verified = verify_registration_response(
            credential=answer.credential,
            expected_challenge=answer.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError) as error:
        raise ProofRefused(f"not a passkey for here: {type(error).__name__}") from error
    if session.get(Passkey, verified.credential_id) is not None:
        raise ProofRefused("this passkey is known already")
    if len(passkeys_of(session, official.id)) >= MOST_PASSKEYS:
        raise ProofRefused("there are too many passkeys")
    session.add(
        Passkey(
            credential_id=verified.credential_id,
            official_id=official.id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            label=label,
            made_on=utc_date(now),
        )
    )
    session.flush()
    _record(session, ActKind.PASSKEY_ADDED, official, verified.credential_id, now)


def prove(session: Session, party: RelyingParty, answer: Answer, now: float) -> Official | None:
    """Who answered with their passkey. Raises ProofRefused, and then nothing must be committed.

    None for a passkey of which there is a copy, by its count: that is on record, to be committed.
    """
    spend(session, answer.challenge, now)
    try:
        credential = parse_authentication_credential_json(answer.credential)
        passkey = session.scalar(
            select(Passkey).where(Passkey.credential_id == credential.raw_id).with_for_update()
        )
        if passkey is None:
            raise ProofRefused("nobody here has this passkey")
        verified = verify_authentication_response(
            credential=credential,
            expected_challenge=answer.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            # The library compares counts before it has looked at the signature: anybody could accuse.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError) as error:
        raise ProofRefused(f"not an answer of a passkey: {type(error).__name__}") from error
    official = session.get_one(Official, passkey.official_id)
    handle = credential.response.user_handle
    if handle is not None and handle != official.id.encode():
        raise ProofRefused("the passkey says that it is somebody else's")
    if official.disabled or official.role != Role.OFFICIAL.value:
        raise ProofRefused("its owner may not come in")
    if verified.new_sign_count <= passkey.sign_count and (verified.new_sign_count or passkey.sign_count):
        _record(session, ActKind.PASSKEY_COPIED, official, passkey.credential_id, now)
        return None
    passkey.sign_count = verified.new_sign_count
    session.flush()
    return official


def passkeys_of(session: Session, official_id: str) -> list[Passkey]:
    """All of the official's, oldest first."""
    return list(
        session.scalars(
            select(Passkey)
            .where(Passkey.official_id == official_id)
            .order_by(Passkey.made_on, Passkey.label, Passkey.credential_id)
        )
    )


def has_passkey(session: Session, official_id: str) -> bool:
    """Whether the official can be asked for one."""
    return bool(
        session.scalar(select(func.count()).select_from(Passkey).where(Passkey.official_id == official_id))
    )


def remove_passkey(
    session: Session, official: Official, credential_id: str, now: float, *, keep_one: bool
) -> None:
    """Forget a passkey of the official's (base64url); one that is not there is no fault.

    Raises LastPasskey, with `keep_one`, for the only one.
    """
    owned = passkeys_of(session, official.id)
    try:
        wanted = base64url_to_bytes(credential_id)
    except ValueError:
        return
    for passkey in owned:
        if passkey.credential_id == wanted:
            if keep_one and len(owned) == 1:
                raise LastPasskey("there is no other way in")
            session.delete(passkey)
            session.flush()
            _record(session, ActKind.PASSKEY_REMOVED, official, wanted, now)


def spend(session: Session, challenge: bytes, now: float, life_seconds: int = CHALLENGE_SECONDS) -> None:
    """Use a challenge up. Raises ProofRefused for one that was used before."""
    latest = math.ceil((now + life_seconds) / EXPIRY_GRAIN_SECONDS) * EXPIRY_GRAIN_SECONDS
    # Of two that come at once, the second waits here for the first's end, and is refused.
    spent = session.execute(
        insert_into(session, SpentChallenge)
        .values(challenge_hash=hashlib.sha256(challenge).digest(), expires_at=latest)
        .on_conflict_do_nothing()
        .returning(SpentChallenge.expires_at)
    ).all()
    if not spent:
        raise ProofRefused("this challenge was answered before")


def _record(session: Session, kind: ActKind, official: Official, credential_id: bytes, now: float) -> None:
    actor = actor_of(official_id=official.id, api_key_hash=None, authority_id=official.authority_id)
    # A hash, for an id can be long; it tells one passkey from another.
    detail: dict[str, str | int] = {"passkey": hashlib.sha256(credential_id).hexdigest()}
    record_act(session, chain=official.authority_id, kind=kind, actor=actor, detail=detail, now=now)
