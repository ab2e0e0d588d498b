"""Step 3 of a key's life: a phone uploads keys with the certificate that names them; what is right is stored.

A key enters only with a certificate over its HMAC, and waits until two hours after its validity. Each key is
judged by itself; an upload that breaks a rule as a whole stores nothing. What brought new keys leaves a
receipt. Must never keep the time of an upload, and never anything that ties the keys of one upload together,
or to its receipt.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from registry.errors import CertificateInvalid, Malformed, Refusal, RefusalCode
from registry.lifecycle.inserts import insert_new, insert_unknown_keys
from registry.lifecycle.recall import check_not_recalled
from registry.lifecycle.replay import (
    answer_name_and_key,
    claim_answer,
    collected_answers,
    earlier_answer,
    keep_answer,
)
from registry.lifecycle.revise import RevisionTokenReading, next_revision_token, revise_stored_keys
from registry.lifecycle.shelves import open_shelves, release_of
from registry.lifecycle.upload_rules import (
    CollectionPolicy,
    KeyFindings,
    Upload,
    UploadedKey,
    check_together,
    judge_keys,
    onset_of,
)
from registry.models import HealthAuthority, HealthAuthorityKey, Receipt, ShelfUpload
from registry.models.feed import feeds
from registry.models.shelf import region_set_of
from registry.protocol.certificate import VerificationCertificate, check_certificate, load_public_key
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.feeds import feeds_of
from registry.protocol.intervals import interval_at
from registry.protocol.keys import REPORT_TYPES, ReportType, TemporaryExposureKey
from registry.protocol.mac import MacSegment, mac_matches
from registry.protocol.recall import recall_tags
from registry.protocol.receipt import commitment, encode_receipt, receipt_of
from registry.protocol.revision_token import RevisionKeyRing

__all__ = ["CollectedUpload", "CollectionPolicy", "Upload", "UploadedKey", "collect_upload"]

_public_key = lru_cache(maxsize=256)(load_public_key)


# Made once: putting a statement together costs more than running it.
_AUTHORITY_AND_LIVE_KEYS = (
    select(
        HealthAuthority.id,
        HealthAuthority.certificate_issuer,
        HealthAuthority.certificate_audience,
        HealthAuthority.regions,
        HealthAuthorityKey.key_id,
        HealthAuthorityKey.public_key_pem,
    )
    .outerjoin(
        HealthAuthorityKey,
        and_(
            HealthAuthorityKey.health_authority_id == HealthAuthority.id,
            HealthAuthorityKey.not_before <= bindparam("now"),
            HealthAuthorityKey.not_after > bindparam("now"),
        ),
    )
    # Existing servers make ids small, so apps write them as they like. Databases differ in what they do to
    # letters beyond ASCII: hence also the id exactly as it was registered.
    .where(
        or_(
            HealthAuthority.id == bindparam("authority_id"),
            func.lower(HealthAuthority.id) == bindparam("lower_id"),
        )
    )
)


@dataclass(frozen=True, slots=True)
class _Authority:
    """A registered authority: what its certificates say, its regions, its public keys that are live now."""

    id: str
    issuer: str
    audience: str
    regions: tuple[str, ...]
    public_keys: Mapping[str, EllipticCurvePublicKey]


@dataclass(frozen=True, slots=True)
class CollectedUpload:
    """What the phone is told. `code` and `error` are empty unless some keys were left out as faulty."""

    revision_token: str
    inserted_exposures: int
    warnings: tuple[str, ...]
    error: str
    code: str


def collect_upload(
    session: Session,
    upload: Upload,
    *,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload:
    """Check an upload and store its keys in the caller's transaction.

    1. The health authority is registered, in large letters or small, and has regions.
    2. The certificate holds: a live key's signature, issuer, audience, times.
    3. Unless the same certificate, keys and `hmacKey` came within the last day: then that answer again.
    4. The certificate names exactly these keys (HMAC), and what it stands on was not recalled meanwhile.
    5. Each key by itself (`judge_keys`); faulty ones are left out and reported.
    6. The keys together (`check_together`).
    7. New keys are stored, on the shelves of the set of regions that takes them; known ones are revised.
    8. If a key was new, the receipt that phone and registry make alike is stored, for the batch of the first
       region that its first keys leave with. It refers to no key, and its bytes hold none.

    Refuses with the key server's codes: `unknown_health_authority_id` and
    `health_authority_missing_region_config` (1), `health_authority_verification_certificate_invalid`
    (2 and 4), `bad_request` (5 and 6), and those of `revise_stored_keys` (7).
    """
    authority = _authority(session, upload.health_authority_id, now)  # 1
    shelf = collected_answers(now)
    name, key = answer_name_and_key(b"publish", _identity(upload))
    try:
        certificate = check_certificate(  # 2
            upload.certificate,
            public_keys=authority.public_keys,
            issuer=authority.issuer,
            audience=authority.audience,
            now=now,
        )
    except CertificateInvalid as error:
        # 3. Whoever can name the stored answer has shown this very certificate while it was good.
        answer = earlier_answer(session, shelf, name, key)
        if answer is None:
            raise Refusal(RefusalCode.CERTIFICATE_INVALID, str(error)) from error
        return _read_answer(answer)
    if not claim_answer(session, shelf, name):  # 3
        answer = earlier_answer(session, shelf, name, key)
        if answer is None:
            raise RuntimeError("an answer that was there a moment ago is gone")
        return _read_answer(answer)
    _check_mac(upload, certificate)  # 4
    check_not_recalled(session, certificate.recall_handle, now)
    findings = judge_keys(  # 5
        upload.keys,
        report_type=REPORT_TYPES[certificate.report_type],
        onset=onset_of(upload, certificate, policy, now),
        policy=policy,
        now=now,
    )
    check_together(findings.accepted, policy)  # 6
    collected = _store(session, upload, certificate, findings, authority, policy, revision_keys, now)  # 7
    # A crash before the caller's commit leaves no key and no answer; after it, the same request finds both.
    keep_answer(session, shelf, name, key, _write_answer(collected))
    return collected


def _authority(session: Session, authority_id: str, now: float) -> _Authority:
    asked = {"authority_id": authority_id, "lower_id": authority_id.lower(), "now": now}
    found = session.execute(_AUTHORITY_AND_LIVE_KEYS, asked).all()
    # Should two ids differ in nothing but their case, each is found by its own spelling alone.
    exact = [row for row in found if row.id == authority_id]
    rows = exact or found
    if len({row.id for row in rows}) != 1:
        raise Refusal(RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID, "the healthAuthorityID is not registered here")
    registered_id, issuer, audience, regions, _key_id, _pem = rows[0]
    if not regions:
        raise Refusal(
            RefusalCode.HEALTH_AUTHORITY_MISSING_REGION_CONFIG,
            "the health authority has no region: its operator must give it one",
        )
    keys = {row.key_id: _public_key(row.public_key_pem) for row in rows if row.key_id is not None}
    return _Authority(registered_id, issuer, audience, tuple(sorted(set(regions))), keys)


def _identity(upload: Upload) -> bytes:
    """What makes two uploads the same: certificate, keys in any order, `hmacKey`; nothing else.

    Keys and `hmacKey` count as the bytes that they are, however they are spelled. The certificate's signature
    and `hmacKey` hold far more than the 128 bits that `replay` asks for.
    """
    keys = sorted(
        [
            _one_spelling(key.key_text),
            key.rolling_start_interval_number,
            key.rolling_period,
            key.transmission_risk,
        ]
        for key in upload.keys
    )
    asked = json.dumps([upload.certificate, _one_spelling(upload.hmac_key_text), keys])
    return hashlib.sha256(asked.encode("ascii")).digest()


def _one_spelling(text: str) -> str:
    """The one base64 of these bytes; what is no base64 stays as it is, and can be no other text's bytes."""
    try:
        return encode_base64(decode_base64(text))
    except Malformed:
        return text


def _check_mac(upload: Upload, certificate: VerificationCertificate) -> None:
    segments = [
        MacSegment(key.key_text, key.rolling_start_interval_number, key.rolling_period, key.transmission_risk)
        for key in upload.keys
    ]
    try:
        secret = decode_base64(upload.hmac_key_text)
    except Malformed as error:
        raise Refusal(RefusalCode.CERTIFICATE_INVALID, "'hmacKey' is not base64") from error
    if not mac_matches(secret, segments, decode_base64(certificate.tekmac)):
        raise Refusal(
            RefusalCode.CERTIFICATE_INVALID,
            "the certificate names other keys: its 'tekmac' is not the HMAC of the keys as they were sent",
        )


def _store(
    session: Session,
    upload: Upload,
    certificate: VerificationCertificate,
    findings: KeyFindings,
    authority: _Authority,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload:
    accepted = findings.accepted
    reading = RevisionTokenReading.of(upload.revision_token, revision_keys)
    # A negative result says that a key must not go out: of a key that was never here nothing is stored.
    stored = [key for key in accepted if key.report_type != ReportType.REVOKED]
    regions = feeds_of(authority.regions, feeds(session), traveler=upload.traveler)
    shelves = _shelves_for(session, stored, regions, interval_at(now))
    tags = recall_tags(certificate.recall_handle, len(stored))
    # One order for all: two uploads that share keys then wait for each other, never in a circle.
    rows = [
        _row(key, authority, upload.traveler, tag, shelves.get(release_of(key, interval_at(now))))
        for key, tag in sorted(zip(stored, tags, strict=True), key=lambda pair: pair[0].key_data)
    ]
    inserted = frozenset(insert_unknown_keys(session, rows))
    if inserted:  # 8
        used = {release_of(key, interval_at(now)) for key in stored if key.key_data in inserted}
        _store_receipt(session, upload, certificate, regions, [shelves[at] for at in sorted(used) if shelves])
    revise_stored_keys(session, [key for key in accepted if key.key_data not in inserted], reading)
    oldest_end = interval_at(now) - policy.max_age_intervals
    return CollectedUpload(
        revision_token=next_revision_token(reading, accepted, revision_keys, oldest_end=oldest_end),
        inserted_exposures=len(inserted),
        warnings=findings.warnings,
        error=findings.error,
        code=RefusalCode.PARTIAL_FAILURE.value if findings.error else "",
    )


def _shelves_for(
    session: Session, keys: Sequence[TemporaryExposureKey], regions: Sequence[str], present: int
) -> dict[int, int]:
    """The shelves that the keys belong on, by when they may leave; none if no region takes the keys."""
    if not regions or not keys:
        return {}
    return open_shelves(session, region_set_of(regions), {release_of(key, present) for key in keys})


def _row(
    key: TemporaryExposureKey, authority: _Authority, traveler: bool, tag: bytes, shelf_id: int | None
) -> dict[str, Any]:
    return {
        "key_data": key.key_data,
        "rolling_start_interval_number": key.rolling_start_interval_number,
        "rolling_period": key.rolling_period,
        "end_interval_number": key.end_interval_number,
        "transmission_risk_level": key.transmission_risk_level,
        "report_type": int(key.report_type),
        "days_since_onset_of_symptoms": key.days_since_onset_of_symptoms,
        "health_authority_id": authority.id,
        "traveler": traveler,
        "revised_before_release": False,
        "recall_tag": tag,
        "shelf_id": shelf_id,
    }


def _store_receipt(
    session: Session,
    upload: Upload,
    certificate: VerificationCertificate,
    regions: Sequence[str],
    shelf_ids: Sequence[int],
) -> None:
    """The receipt, on the shelf that leaves first, and a mark of one more upload on each of the shelves."""
    if not shelf_ids:
        return
    # The same bytes as the phone's: it need not be told, and the answer is as long as ever.
    content = encode_receipt(receipt_of(upload.certificate, certificate, decode_base64(upload.hmac_key_text)))
    row = {
        "commitment": commitment(content),
        "region": regions[0],
        "content": content,
        "shelf_id": shelf_ids[0],
    }
    insert_new(session, Receipt, [row], Receipt.commitment)
    marks = [{"shelf_id": shelf_id, "mark": secrets.token_bytes(16)} for shelf_id in shelf_ids]
    insert_new(session, ShelfUpload, marks, ShelfUpload.shelf_id)


def _write_answer(collected: CollectedUpload) -> bytes:
    return json.dumps(asdict(collected)).encode("ascii")


def _read_answer(answer: bytes) -> CollectedUpload:
    members = json.loads(answer)
    return CollectedUpload(**{**members, "warnings": tuple(members["warnings"])})
