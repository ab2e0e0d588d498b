"""A made-up health authority for tests: its keys, its rows in both halves, and phones' keys to upload."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.orm import Session

from registry.lifecycle.authorize import hash_api_key
from registry.lifecycle.publish.key_days import make_due_days
from registry.models import (
    ApiKey,
    Authority,
    CertificateKey,
    HealthAuthority,
    HealthAuthorityKey,
    transaction,
)
from registry.protocol.certificate import VerificationCertificate, encode_certificate
from registry.protocol.encoding import encode_base64
from registry.protocol.intervals import interval_at
from registry.protocol.mac import MacSegment, upload_mac
from registry.protocol.revision_token import RevisionKeyRing

AUTHORITY = "org.example.health"
ISSUER = "org.example.issuer"
AUDIENCE = "org.example.registry"
LOOKUP_KEY = bytes(range(32))
DEVICE_KEY = "device-key-of-the-test"
ADMIN_KEY = "admin-key-of-the-test"
STATS_KEY = "stats-key-of-the-test"
REGIONS = ["XA", "XB"]
RING = RevisionKeyRing("r1", {"r1": b"\x07" * 32})
RECALL_KEY = X25519PrivateKey.from_private_bytes(b"\x21" * 32)
FAR = 4_000_000_000


@dataclass(frozen=True)
class MadeSigner:
    """A certificate or token signing key in memory."""

    key_id: str
    private_key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256, DER."""
        return self.private_key.sign(message, ECDSA(SHA256()))

    @property
    def public_key(self) -> EllipticCurvePublicKey:
        """The public half."""
        return self.private_key.public_key()

    @property
    def public_key_pem(self) -> str:
        """The public half as PEM."""
        return self.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def found_issuing(session: Session, signer: MadeSigner) -> Authority:
    """Rows of the issuing half: the authority, its certificate key, one API key of each kind."""
    with transaction(session):
        authority = Authority(
            id=AUTHORITY, name="Example", certificate_issuer=ISSUER, certificate_audience=AUDIENCE
        )
        session.add(authority)
        session.flush()
        session.add(
            CertificateKey(
                key_id=signer.key_id,
                authority_id=AUTHORITY,
                public_key_pem=signer.public_key_pem,
                not_before=0,
                not_after=FAR,
            )
        )
        for kind, key in (("device", DEVICE_KEY), ("admin", ADMIN_KEY), ("stats", STATS_KEY)):
            key_hash = hash_api_key(LOOKUP_KEY, key)
            session.add(ApiKey(key_hash=key_hash, authority_id=AUTHORITY, kind=kind, preview=key[:4]))
    return authority


def found_collecting(
    session: Session, signer: MadeSigner, now: float, regions: list[str] | None = None
) -> None:
    """Rows of the collecting half: the registered authority and its key; and where keys of `now` will lie."""
    make_due_days(session, now)
    with transaction(session):
        session.add(
            HealthAuthority(
                id=AUTHORITY,
                certificate_issuer=ISSUER,
                certificate_audience=AUDIENCE,
                regions=REGIONS if regions is None else regions,
            )
        )
        session.flush()
        session.add(
            HealthAuthorityKey(
                health_authority_id=AUTHORITY,
                key_id=signer.key_id,
                public_key_pem=signer.public_key_pem,
                not_before=0,
                not_after=FAR,
            )
        )


def made_key(
    now: float, days_ago: int = 2, *, period: int = 144, risk: int = 0, **more: Any
) -> dict[str, Any]:
    """A key as a phone sends it, beginning at UTC midnight `days_ago`."""
    start = interval_at(now) // 144 * 144 - 144 * days_ago
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    return {
        "key": key,
        "rollingStartNumber": start,
        "rollingPeriod": period,
        "transmissionRisk": risk,
        **more,
    }


def mac_of(hmac_key: bytes, keys: list[dict[str, Any]], *, with_risk: bool = True) -> str:
    """`ekeyhmac` of these keys."""
    segments = [
        MacSegment(
            key["key"], key["rollingStartNumber"], key["rollingPeriod"], key.get("transmissionRisk", 0)
        )
        for key in keys
    ]
    return encode_base64(upload_mac(hmac_key, segments, with_risk=with_risk))


def made_upload(
    signer: MadeSigner,
    keys: list[dict[str, Any]],
    now: float,
    *,
    report_type: str = "confirmed",
    onset_days_ago: int | None = 4,
    mac: str | None = None,
    issuer: str = ISSUER,
    audience: str = AUDIENCE,
    evidence: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A whole /v1/publish body: the certificate is made here, as the authority would.

    `evidence` is what the certificate carries for the receipt.
    """
    hmac_key = secrets.token_bytes(16)
    onset = None if onset_days_ago is None else interval_at(now) // 144 * 144 - 144 * onset_days_ago
    certificate = VerificationCertificate(
        issuer=issuer,
        audience=audience,
        report_type=report_type,
        tekmac=mac or mac_of(hmac_key, keys),
        symptom_onset_interval=onset,
        issued_at=int(now) - 5,
        not_before=int(now) - 5,
        expires_at=int(now) + 900,
        **evidence or {},
    )
    return {
        "temporaryExposureKeys": keys,
        "healthAuthorityID": AUTHORITY,
        "verificationPayload": encode_certificate(certificate, signer),
        "hmacKey": encode_base64(hmac_key),
        "traveler": False,
        **more,
    }
