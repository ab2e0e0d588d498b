"""The verification certificate: a health authority's word that exactly these keys may be uploaded.

A JWT with the claims that existing key servers read (exposure-notifications-verification-server,
"certificate"). It is all that joins the issuing half to the collecting half, so it carries no code, no
official and no test date. Stricter than its models: `exp` and `iat` are required, a life is bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from registry.errors import CertificateExpired, CertificateInvalid, Malformed
from registry.protocol.encoding import JsonObject, decode_base64
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
    "read_jwt",
    "verify_jwt",
]

MAX_LIFE_SECONDS = 24 * 3600
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class VerificationCertificate:
    """What a certificate says. Times are unix seconds."""

    issuer: str
    audience: str
    report_type: str
    """One of `REPORT_TYPES`."""
    tekmac: str
    """Base64 of 32 bytes, as the phone sent it in `ekeyhmac`."""
    symptom_onset_interval: int | None
    issued_at: int
    not_before: int
    expires_at: int


def encode_certificate(certificate: VerificationCertificate, signer: CertificateSigner) -> str:
    """The signed token. `symptomOnsetInterval` is left out where no onset is known."""
    claims: dict[str, object] = {
        "iss": certificate.issuer,
        "aud": certificate.audience,
        "iat": certificate.issued_at,
        "nbf": certificate.not_before,
        "exp": certificate.expires_at,
        "reportType": certificate.report_type,
        "tekmac": certificate.tekmac,
    }
    if certificate.symptom_onset_interval is not None:
        claims["symptomOnsetInterval"] = certificate.symptom_onset_interval
    return encode_jwt(claims, signer)


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
    3. It states issuer, audience, times, a report type and a MAC of 32 bytes.
    4. Issuer and audience are exactly the expected ones.
    5. It lives 24 hours at most, has begun and has not ended. No leeway, as in existing servers.

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


def _read_claims(members: dict[str, Any]) -> VerificationCertificate:
    claims = JsonObject(members, "certificate")
    report_type = claims.text("reportType")
    if report_type not in REPORT_TYPES:
        raise Malformed("certificate: 'reportType' is none of " + ", ".join(REPORT_TYPES))
    tekmac = claims.text("tekmac")
    if len(decode_base64(tekmac)) != _MAC_BYTES:
        raise Malformed(f"certificate: 'tekmac' must be {_MAC_BYTES} bytes in base64")
    onset = (
        claims.integer("symptomOnsetInterval", most=LAST_INTERVAL) if "symptomOnsetInterval" in claims else 0
    )
    issued_at = claims.integer("iat")
    return VerificationCertificate(
        issuer=claims.text("iss"),
        audience=claims.text("aud"),
        report_type=report_type,
        tekmac=tekmac,
        symptom_onset_interval=onset or None,  # issuers in other languages write their zero for "unknown"
        issued_at=issued_at,
        not_before=claims.integer("nbf") if "nbf" in claims else issued_at,
        expires_at=claims.integer("exp"),
    )


def _check_life(certificate: VerificationCertificate, now: float) -> None:
    if not 0 < certificate.expires_at - certificate.issued_at <= MAX_LIFE_SECONDS:
        raise CertificateInvalid("the certificate must end after 'iat', at most 24 hours later")
    if certificate.issued_at > now or certificate.not_before > now:
        raise CertificateInvalid("the certificate's time has not begun: compare the servers' clocks")
    if certificate.expires_at <= now:
        raise CertificateExpired("the certificate has expired: ask for a new one")
