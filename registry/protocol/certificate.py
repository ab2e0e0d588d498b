"""The verification certificate: a health authority's word that exactly these keys may be uploaded.

A JWT with the claims that existing key servers read (exposure-notifications-verification-server,
"certificate"). It is all that joins the issuing half to the collecting half, so it carries no code, no
official and no test date, and of the official's attestation a salted commitment only. Stricter than its
models: `exp` is required, a life is bounded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from registry.errors import CertificateExpired, CertificateInvalid, Malformed
from registry.protocol.encoding import JsonObject, decode_base64, encode_base64
from registry.protocol.intervals import LAST_INTERVAL
from registry.protocol.jwt import (
    MAX_TOKEN_CHARACTERS,
    CertificateSigner,
    encode_jwt,
    jwk_of,
    load_public_key,
    read_jwt,
    verify_jwt,
)
from registry.protocol.keys import REPORT_TYPES
from registry.protocol.recall import HANDLE_BYTES

__all__ = [
    "MAX_LIFE_SECONDS",
    "MAX_TOKEN_CHARACTERS",
    "CertificateSigner",
    "VerificationCertificate",
    "check_certificate",
    "encode_certificate",
    "encode_jwt",
    "jwk_of",
    "load_public_key",
    "read_certificate",
    "read_jwt",
    "verify_jwt",
]

MAX_LIFE_SECONDS = 24 * 3600
HEAD_START_SECONDS = 60
"""Added to the longest life: issuers let it begin a little before they sign, for clocks that are behind."""

CONSENT_VERSION = re.compile(r"[A-Za-z0-9._:+-]{1,32}")
"""How a version of a consent text may be spelled: a name, and no room for anything personal."""

_MAC_BYTES = 32
_HASH_BYTES = 32
_LAST_SECOND = 2**53 - 1


@dataclass(frozen=True, slots=True)
class VerificationCertificate:
    """What a certificate says. Times are unix seconds; other issuers' may have fractions."""

    issuer: str
    audience: str
    report_type: str
    """One of `REPORT_TYPES`."""
    tekmac: str
    """Base64 of 32 bytes, as the phone sent it in `ekeyhmac`."""
    symptom_onset_interval: int | None
    issued_at: float | None
    """None if its issuer does not say."""
    not_before: float | None
    """None as well; what has none begins when it was issued."""
    expires_at: float
    attestation: bytes | None = None
    """Commitment to what the official stated, 32 bytes (`registry.protocol.receipt`)."""
    consent_hash: bytes | None = None
    """SHA-256 of the phone's consent record."""
    consent_version: str | None = None
    """Which text the person was shown; see `CONSENT_VERSION`."""
    recall_handle: bytes | None = None
    """Random, 16 bytes: leads to the upload's keys, for a recall (`registry.protocol.recall`)."""


def encode_certificate(certificate: VerificationCertificate, signer: CertificateSigner) -> str:
    """The signed token. What is None is left out."""
    claims: dict[str, object] = {
        "iss": certificate.issuer,
        "aud": certificate.audience,
        "iat": certificate.issued_at,
        "nbf": certificate.not_before,
        "exp": certificate.expires_at,
        "reportType": certificate.report_type,
        "tekmac": certificate.tekmac,
        "symptomOnsetInterval": certificate.symptom_onset_interval,
        "attestation": None if certificate.attestation is None else encode_base64(certificate.attestation),
        "consentHash": None if certificate.consent_hash is None else encode_base64(certificate.consent_hash),
        "consentVersion": certificate.consent_version,
        "recall": None if certificate.recall_handle is None else encode_base64(certificate.recall_handle),
    }
    return encode_jwt({name: value for name, value in claims.items() if value is not None}, signer)


def check_certificate(
    token: str,
    *,
    public_keys: Mapping[str, EllipticCurvePublicKey],
    issuer: str,
    audience: str,
    now: float,
) -> VerificationCertificate:
    """What the certificate says, once all of this holds. `public_keys` is by `kid`, live ones only.

    1. It is an ES256 token whose `kid` is known.
    2. Its signature verifies.
    3. It states issuer, audience, its end, a report type and a MAC of 32 bytes.
    4. Issuer and audience are exactly the expected ones.
    5. It lives 24 hours at most (and `HEAD_START_SECONDS`), has begun and has not ended. No leeway, as in
       existing servers. `iat` and `nbf` count only if they are there (RFC 7519 §4.1); without both, 24 hours
       are counted from now.

    An onset that is null or no interval that could be is taken as not stated. So are an attestation and a
    consent that are not in our form: other issuers may mean something else by these claims.

    Raises CertificateExpired if all but its end holds, CertificateInvalid for everything else.
    """
    try:
        header, _unverified = read_jwt(token)  # 1
        public_key = public_keys.get(header["kid"])
        if public_key is None:
            raise CertificateInvalid("no public key is known under the certificate's 'kid'")
        certificate = _read_claims(verify_jwt(token, public_key))  # 2, 3
    except Malformed as error:
        raise CertificateInvalid(str(error)) from error
    if certificate.issuer != issuer:  # 4
        raise CertificateInvalid("the certificate's 'iss' is not the health authority's issuer")
    if certificate.audience != audience:
        raise CertificateInvalid("the certificate's 'aud' is not this registry's audience")
    _check_life(certificate, now)  # 5
    return certificate


def read_certificate(token: str) -> VerificationCertificate:
    """What a certificate says, unverified: for whoever had it from its issuer. Raises Malformed."""
    _header, claims = read_jwt(token)
    return _read_claims(claims)


def _read_claims(members: dict[str, Any]) -> VerificationCertificate:
    claims = JsonObject(members, "certificate")
    report_type = claims.text("reportType")
    if report_type not in REPORT_TYPES:
        raise Malformed("certificate: 'reportType' is none of " + ", ".join(REPORT_TYPES))
    tekmac = claims.text("tekmac")
    if len(decode_base64(tekmac)) != _MAC_BYTES:
        raise Malformed(f"certificate: 'tekmac' must be {_MAC_BYTES} bytes in base64")
    issued_at = _numeric_date(members, "iat")
    not_before = _numeric_date(members, "nbf")
    expires_at = _numeric_date(members, "exp")
    if expires_at is None:
        raise Malformed("certificate: 'exp' must be there")
    return VerificationCertificate(
        issuer=claims.text("iss"),
        audience=claims.text("aud"),
        report_type=report_type,
        tekmac=tekmac,
        symptom_onset_interval=_onset(members.get("symptomOnsetInterval")),
        issued_at=issued_at,
        not_before=issued_at if not_before is None else not_before,
        expires_at=expires_at,
        attestation=_optional_bytes(members.get("attestation"), _HASH_BYTES),
        consent_hash=_optional_bytes(members.get("consentHash"), _HASH_BYTES),
        consent_version=_optional_version(members.get("consentVersion")),
        recall_handle=_optional_bytes(members.get("recall"), HANDLE_BYTES),
    )


def _optional_bytes(value: object, length: int) -> bytes | None:
    """So many bytes, or None for what is none: evidence is welcome, and never a reason to refuse keys."""
    if not isinstance(value, str):
        return None
    try:
        content = decode_base64(value)
    except Malformed:
        return None
    return content if len(content) == length else None


def _optional_version(value: object) -> str | None:
    return value if isinstance(value, str) and CONSENT_VERSION.fullmatch(value) else None


def _numeric_date(members: Mapping[str, Any], name: str) -> float | None:
    """Unix seconds, with a fraction or without (NumericDate, RFC 7519 §2); None for what is not there."""
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        raise Malformed(f"certificate: '{name}' must be a number of seconds since 1970")
    return value


def _onset(value: object) -> int | None:
    """The interval, or None for what is none: null, no day that could be, and 0, which issuers in other
    languages write for "unknown". Raises Malformed for what is no whole number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed("certificate: 'symptomOnsetInterval' must be a whole number")
    return value if 0 < value <= LAST_INTERVAL else None


def _check_life(certificate: VerificationCertificate, now: float) -> None:
    stated = certificate.not_before if certificate.issued_at is None else certificate.issued_at
    if stated is not None and certificate.expires_at <= stated:
        raise CertificateInvalid("the certificate must end after it begins")
    begins = now if stated is None else stated
    if certificate.expires_at - begins > MAX_LIFE_SECONDS + HEAD_START_SECONDS:
        raise CertificateInvalid("the certificate must end within 24 hours of its beginning")
    if any(time is not None and time > now for time in (certificate.issued_at, certificate.not_before)):
        raise CertificateInvalid("the certificate's time has not begun: compare the servers' clocks")
    if certificate.expires_at <= now:
        raise CertificateExpired("the certificate has expired: ask for a new one")
