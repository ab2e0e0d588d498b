"""Step 2 of a key's life: a code becomes a token, and the token a certificate that names exactly these keys.

A code gives one token and a token one certificate; a lost reply is repeated from `replay`. Must never learn
a key (only its HMAC comes here), must never keep a code, token or certificate readable, keeps no date
beyond the code or token that it stands for, and of the handle that leads to the upload only what is sealed.
"""

import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.errors import CertificateInvalid, Malformed, Refusal, RefusalCode
from registry.lifecycle.authorize import (
    IssuingPolicy,
    check_open,
    hash_code,
    hash_nonce,
    life_of,
)
from registry.lifecycle.consent import NO_CONSENT, ConsentEvidence, read_consent
from registry.lifecycle.counts import CountKind, count_one
from registry.lifecycle.letters import seal_to_letter
from registry.lifecycle.replay import (
    answer_name_and_key,
    claim_answer,
    earlier_answer,
    issued_answers,
    keep_answer,
)
from registry.lifecycle.statistics import count_certified, count_redeemed
from registry.models import Authority, Authorization, VerificationCode, VerificationToken
from registry.protocol.certificate import (
    CertificateSigner,
    VerificationCertificate,
    encode_certificate,
    encode_jwt,
    read_certificate,
    read_jwt,
    verify_jwt,
)
from registry.protocol.codes import CodeForm
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.intervals import interval_of_date
from registry.protocol.recall import HANDLE_BYTES, seal_handle
from registry.protocol.receipt import attestation_commitment

REPLAY_PADDING_BYTES = 16
"""A repeated /api/verify is answered again only if its padding holds as many bytes as nobody can guess:
otherwise knowing a used code would be enough to get its token."""

CERTIFICATE_HEAD_START_SECONDS = 5
"""Certificates begin this long before now, for clocks that are behind."""

_EXPIRY_GRAIN_SECONDS = 900
_TOKEN_ID_BYTES = 96
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class VerifiedCode:
    """What a phone gets for a code: what was stated, and the token that stands for it."""

    report_type: str
    test_date: date | None
    onset_date: date | None
    token: str


def verify_code(
    session: Session,
    *,
    body: bytes,
    code: str,
    padding: bytes,
    accept: frozenset[str],
    nonce: bytes = b"",
    authority_id: str,
    lookup_key: bytes,
    token_signer: CertificateSigner,
    recall_public_key: X25519PublicKey,
    policy: IssuingPolicy,
    now: float,
) -> VerifiedCode:
    """Exchange a code for a token, once. `body` is the request as it came, `accept` the full set of types.

    The handle by which the upload can be recalled is made here, goes with the token to the certificate, and
    stays with the statement as it is sealed to `recall_public_key`.

    Refuses with `maintenance_mode`, `code_invalid` (unknown or used, or of a self-report and without its
    `nonce`), `code_expired` and `unsupported_test_type` (the app did not ask for this report type; the code
    stays good). A byte-identical body with 16 bytes or more of padding gets its first answer again for a day.
    """
    check_open(session, authority_id)
    # Locked, so that of two requests with one code the second waits and then sees it used.
    hashed = hash_code(lookup_key, authority_id, code)
    row = session.scalar(
        select(VerificationCode)
        .where(
            or_(VerificationCode.code_hash == hashed, VerificationCode.link_hash == hashed),
            VerificationCode.authority_id == authority_id,
        )
        .with_for_update()
    )
    if row is None or not _shows_nonce(row, hash_nonce(lookup_key, authority_id, nonce)):
        raise Refusal(RefusalCode.CODE_INVALID, "the code is not valid: check it with whoever gave it to you")
    shelf = issued_answers(now)
    name, key = _name_and_key_of(authority_id, body)
    repeatable = len(padding) >= REPLAY_PADDING_BYTES
    if row.claimed:
        answer = earlier_answer(session, shelf, name, key) if repeatable else None
        if answer is None:
            raise Refusal(RefusalCode.CODE_INVALID, "the code has been used: ask for a new one")
        return _read_answer(answer)
    if row.expires_at <= now:
        raise Refusal(RefusalCode.CODE_EXPIRED, "the code has expired: ask for a new one")
    if row.report_type not in accept:
        raise Refusal(
            RefusalCode.UNSUPPORTED_TEST_TYPE, f"the code is for a {row.report_type} result: accept it too"
        )
    verified = _issue_token(session, row, token_signer, recall_public_key, policy, now)
    # The token has the dates from here on; a repeated reply is unsealed with its own.
    row.claimed, row.test_date, row.onset_date = True, None, None
    if repeatable and claim_answer(session, shelf, name):
        keep_answer(session, shelf, name, key, _write_answer(verified))
    count_redeemed(
        session,
        authority_id,
        expires_at=row.expires_at,
        life_seconds=life_of(CodeForm(row.code_form), policy, phone_made=row.phone_made),
        now=now,
    )
    count_one(session, CountKind.REDEEMED, now)
    return verified


def repeated_verification(
    session: Session, *, body: bytes, padding: bytes, authority_id: str, now: float
) -> VerifiedCode | None:
    """The answer that the same body got from `verify_code` within a day, if it has padding enough; else None.

    No code is looked at. Refuses with `maintenance_mode`.
    """
    check_open(session, authority_id)
    if len(padding) < REPLAY_PADDING_BYTES:
        return None
    answer = earlier_answer(session, issued_answers(now), *_name_and_key_of(authority_id, body))
    return None if answer is None else _read_answer(answer)


def _shows_nonce(row: VerificationCode, nonce_hash: bytes) -> bool:
    """Whether the phone that has the code is the one that asked for it; always, for an official's code."""
    return row.nonce_hash is None or hmac.compare_digest(row.nonce_hash, nonce_hash)


def certify(
    session: Session,
    *,
    token: str,
    ekeyhmac_text: str,
    consent: ConsentEvidence = NO_CONSENT,
    authority: Authority,
    token_public_keys: Mapping[str, EllipticCurvePublicKey],
    certificate_signer: CertificateSigner,
    policy: IssuingPolicy,
    now: float,
) -> str:
    """Exchange a token for the certificate of the keys whose HMAC is `ekeyhmac_text`, once.

    It also carries the commitment to what the official stated, and what the phone says of its consent
    record; neither stays here. Refuses with `token_invalid` (not ours, or its JWT has expired),
    `hmac_invalid` (not base64 of 32 bytes) and `token_expired` (unknown, used, expired in the database, or
    not what was stored), as existing servers do; and as `read_consent` does, which burns nothing.

    The same token and HMAC get the same certificate again for a day; should that one have expired meanwhile,
    one that says the same and begins now, so that a lost reply burns no token. A consent that a repetition
    names is not looked at: the first one's stands.
    """
    shelf = issued_answers(now)
    asked = b"\0".join(part.encode("utf-8") for part in (authority.id, token, ekeyhmac_text))
    name, key = answer_name_and_key(b"certificate", asked)
    answer = earlier_answer(session, shelf, name, key)
    if answer is None:
        claims = _check_token(token, token_public_keys, policy, now)
        _check_hmac(ekeyhmac_text)
        consent_hash, consent_version = read_consent(consent)
        row = session.scalar(
            select(VerificationToken)
            .filter_by(token_id_hash=_token_id_hash(str(claims.get("jti"))), authority_id=authority.id)
            .with_for_update()
        )
        if row is None or row.expires_at <= now or not (row.used or claims.get("sub") == _subject(row)):
            raise Refusal(RefusalCode.TOKEN_EXPIRED, "the token has expired: start again with a new code")
        if not row.used:
            certificate = replace(
                _certificate(authority, row, ekeyhmac_text, policy, now),
                consent_hash=consent_hash,
                consent_version=consent_version,
            )
            encoded = encode_certificate(certificate, certificate_signer)
            # The certificate, sealed below, has them from here on: nothing is left of them.
            row.used, row.test_date, row.onset_date = True, None, None
            row.attestation, row.recall_handle = None, None
            claim_answer(session, shelf, name)
            keep_answer(session, shelf, name, key, encoded.encode("ascii"))
            count_certified(session, authority.id, now)
            count_one(session, CountKind.CERTIFIED, now)
            return encoded
        # The twin of this very request may have committed while this one waited for the token's lock.
        answer = earlier_answer(session, shelf, name, key)
        if answer is None:
            raise Refusal(RefusalCode.TOKEN_EXPIRED, "the token has been used: start again with a new code")
    encoded = answer.decode("ascii").rstrip(" ")
    renewed = _renewed(encoded, policy, now)
    if renewed is not None:
        encoded = encode_certificate(renewed, certificate_signer)
        keep_answer(session, shelf, name, key, encoded.encode("ascii"))
    return encoded


def _name_and_key_of(authority_id: str, body: bytes) -> tuple[bytes, bytes]:
    """Under which the answer to this request for a token lies."""
    return answer_name_and_key(b"verify", authority_id.encode() + b"\0" + body)


def _issue_token(
    session: Session,
    code: VerificationCode,
    signer: CertificateSigner,
    recall_public_key: X25519PublicKey,
    policy: IssuingPolicy,
    now: float,
) -> VerifiedCode:
    authorization = session.get_one(Authorization, code.authorization_id)
    handle = secrets.token_bytes(HANDLE_BYTES)
    authorization.recall_sealed = seal_handle(handle, recall_public_key, authorization.id)
    seal_to_letter(session, authorization.id, handle)
    token_id = encode_base64(secrets.token_bytes(_TOKEN_ID_BYTES))
    issued_at = math.floor(now)
    expires_at = issued_at + policy.token_life_seconds
    row = VerificationToken(
        token_id_hash=_token_id_hash(token_id),
        authority_id=code.authority_id,
        report_type=code.report_type,
        test_date=code.test_date,
        onset_date=code.onset_date,
        # Rounded up, so that the row does not tell when the phone asked.
        expires_at=math.ceil(expires_at / _EXPIRY_GRAIN_SECONDS) * _EXPIRY_GRAIN_SECONDS,
        attestation=_attestation_of(authorization),
        recall_handle=handle,
    )
    session.add(row)
    claims = {
        "iss": policy.token_issuer,
        "aud": policy.token_issuer,
        "iat": issued_at,
        "exp": expires_at,
        "jti": token_id,
        "sub": _subject(row),
    }
    return VerifiedCode(code.report_type, code.test_date, code.onset_date, encode_jwt(claims, signer))


def _attestation_of(authorization: Authorization) -> bytes | None:
    """Commitment to what was stated when the code was issued; None if that was before there were receipts."""
    salt = authorization.attestation_salt
    return None if salt is None else attestation_commitment(salt, authorization.attestation())


def _check_token(
    token: str, public_keys: Mapping[str, EllipticCurvePublicKey], policy: IssuingPolicy, now: float
) -> dict[str, Any]:
    """The claims of a token that we signed and whose time has not passed. Refuses with `token_invalid`."""
    refusal = Refusal(RefusalCode.TOKEN_INVALID, "the token is not valid: start again with a new code")
    try:
        header, _unverified = read_jwt(token)
        public_key = public_keys.get(header["kid"])
        if public_key is None:
            raise refusal
        claims = verify_jwt(token, public_key)
    except (Malformed, CertificateInvalid) as error:
        raise refusal from error
    expires_at = claims.get("exp")
    if claims.get("iss") != policy.token_issuer or claims.get("aud") != policy.token_issuer:
        raise refusal
    if not isinstance(expires_at, int) or expires_at <= now:
        raise refusal
    return claims


def _check_hmac(ekeyhmac_text: str) -> None:
    refusal = Refusal(RefusalCode.HMAC_INVALID, f"'ekeyhmac' must be {_MAC_BYTES} bytes in base64")
    try:
        mac = decode_base64(ekeyhmac_text)
    except Malformed as error:
        raise refusal from error
    if len(mac) != _MAC_BYTES:
        raise refusal


def _certificate(
    authority: Authority, token: VerificationToken, ekeyhmac_text: str, policy: IssuingPolicy, now: float
) -> VerificationCertificate:
    onset_date = token.onset_date
    begins = math.floor(now) - CERTIFICATE_HEAD_START_SECONDS
    return VerificationCertificate(
        issuer=authority.certificate_issuer,
        audience=authority.certificate_audience,
        report_type=token.report_type,
        tekmac=ekeyhmac_text,
        symptom_onset_interval=None if onset_date is None else interval_of_date(onset_date),
        issued_at=begins,
        not_before=begins,
        expires_at=math.floor(now) + policy.certificate_life_seconds,
        attestation=token.attestation,
        recall_handle=token.recall_handle,
    )


def _renewed(encoded: str, policy: IssuingPolicy, now: float) -> VerificationCertificate | None:
    """What an expired certificate of ours said, with new times; None if it has not expired.

    The claims were unsealed from our own table, where nobody else can have put them.
    """
    certificate = read_certificate(encoded)
    if certificate.expires_at > now:
        return None
    begins = math.floor(now) - CERTIFICATE_HEAD_START_SECONDS
    return replace(
        certificate,
        issued_at=begins,
        not_before=begins,
        expires_at=math.floor(now) + policy.certificate_life_seconds,
    )


def _token_id_hash(token_id: str) -> bytes:
    return hashlib.sha256(token_id.encode("utf-8", "surrogatepass")).digest()


def _subject(row: VerificationToken) -> str:
    """`testType.symptomDate.testDate`, empty parts kept: what the token says must be what was stored."""
    onset = row.onset_date.isoformat() if row.onset_date else ""
    tested = row.test_date.isoformat() if row.test_date else ""
    return f"{row.report_type}.{onset}.{tested}"


def _write_answer(verified: VerifiedCode) -> bytes:
    days = [day and day.isoformat() for day in (verified.test_date, verified.onset_date)]
    return json.dumps([verified.report_type, *days, verified.token]).encode()


def _read_answer(answer: bytes) -> VerifiedCode:
    report_type, tested, onset, token = json.loads(answer)
    return VerifiedCode(
        report_type,
        date.fromisoformat(tested) if tested else None,
        date.fromisoformat(onset) if onset else None,
        token,
    )
