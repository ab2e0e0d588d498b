"""Step 3 of a key's life: a phone uploads keys with the certificate that names them; what is right is stored.

A key enters only with a certificate over its HMAC, and waits until two hours after its validity. Each key is
judged by itself; an upload that breaks a rule as a whole stores nothing. What brought new keys leaves a
receipt. Must never keep the time of an upload, and never anything that ties the keys of one upload together,
or to its receipt.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from registry.errors import CertificateInvalid, Malformed, Refusal, RefusalCode
from registry.lifecycle.authorities import Authority, Believed, authority_now
from registry.lifecycle.inserts import insert_new, insert_unknown_keys
from registry.lifecycle.recall import check_not_recalled
from registry.lifecycle.replay import (
    answer_name_and_key,
    claim_answer,
    collected_answers,
    earlier_answer,
    keep_answer,
    seal,
)
from registry.lifecycle.revise import RevisionTokenReading, next_revision_token, revise_stored_keys
from registry.lifecycle.shelves import new_mark, open_shelves, release_of
from registry.lifecycle.statistics import OLDEST_DAYS, ONSET_DAYS
from registry.lifecycle.upload_figures import days_before
from registry.lifecycle.upload_rules import (
    CollectionPolicy,
    KeyFindings,
    Upload,
    UploadedKey,
    check_together,
    given_onset,
    judge_keys,
    onset_of,
)
from registry.lifecycle.upload_statement import OrdinaryUpload, store_at_once
from registry.models import Receipt, ShelfUpload, committing_each
from registry.models.feed import feeds
from registry.models.shelf import region_set_of
from registry.protocol.certificate import VerificationCertificate, check_certificate
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.feeds import feeds_of
from registry.protocol.intervals import interval_at
from registry.protocol.keys import REPORT_TYPES, ReportType, TemporaryExposureKey
from registry.protocol.mac import MacSegment, mac_matches
from registry.protocol.recall import recall_tags, recalled_mark
from registry.protocol.receipt import commitment, encode_receipt, receipt_of
from registry.protocol.revision_token import RevisionKeyRing

__all__ = [
    "CollectedUpload",
    "CollectionPolicy",
    "Upload",
    "UploadedKey",
    "collect_at_once",
    "collect_upload",
]


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
    authority = authority_now(session, upload.health_authority_id, now)  # 1
    shelf = collected_answers(now)
    name, key = answer_name_and_key(b"publish", _identity(upload))
    try:
        certificate = _certificate(upload, authority, now)  # 2
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
    findings = _judge(upload, certificate, policy, now)  # 5, 6
    collected = _store(session, upload, certificate, findings, authority, policy, revision_keys, now)  # 7
    # A crash before the caller's commit leaves no key and no answer; after it, the same request finds both.
    keep_answer(session, shelf, name, key, _write_answer(collected))
    return collected


def collect_at_once(
    session: Session,
    upload: Upload,
    *,
    believed: Believed,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload | None:
    """What `collect_upload` would do, in one round trip and durable when this returns, if all is ordinary.

    None if it is not, and on SQLite, which has no round trips: nothing is stored then, and `collect_upload`
    must be called, which says what is wrong or does what is not ordinary.
    """
    if session.get_bind().dialect.name != "postgresql":
        return None
    try:
        return _collect_at_once(session, upload, believed, policy, revision_keys, now)
    except (CertificateInvalid, Refusal, DBAPIError):
        # Of a broken connection nobody knows whether it stored the upload: if so, its answer will be found.
        return None


def _collect_at_once(
    session: Session,
    upload: Upload,
    believed: Believed,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload | None:
    standing = believed.of(session, upload.health_authority_id)
    authority = standing.authority(upload.health_authority_id, now)
    certificate = _certificate(upload, authority, now)
    _check_mac(upload, certificate)
    findings = _judge(upload, certificate, policy, now)
    regions = feeds_of(authority.regions, standing.feeds, traveler=upload.traveler)
    if not regions or not _stored(findings):
        return None
    tags = recall_tags(certificate.recall_handle, len(findings.accepted))
    reading = RevisionTokenReading.of(upload.revision_token, revision_keys)
    collected = _answer(reading, findings, len(findings.accepted), policy, revision_keys, now)
    name, key = answer_name_and_key(b"publish", _identity(upload))
    receipt = _receipt(upload, certificate)
    ordinary = OrdinaryUpload(
        standing=standing.text,
        registered_id=authority.id,
        traveler=upload.traveler,
        regions=regions,
        name=name,
        sealed=seal(name, key, _write_answer(collected)),
        expires=collected_answers(now).expires,
        onset_days=_onset_days(upload, certificate, policy, now),
        oldest_days=_oldest_days(findings.accepted, now),
        recalled_mark=recalled_mark(certificate.recall_handle or b""),
        commitment=commitment(receipt),
        receipt=receipt,
    )
    keys = list(zip(findings.accepted, tags, strict=True))
    with committing_each(session) as connection:
        if store_at_once(connection, ordinary, upload.health_authority_id, keys, interval_at(now)):
            return collected
    # Perhaps because of what was believed.
    believed.forget(upload.health_authority_id)
    return None


def _certificate(upload: Upload, authority: Authority, now: float) -> VerificationCertificate:
    return check_certificate(
        upload.certificate,
        public_keys=authority.public_keys,
        issuer=authority.issuer,
        audience=authority.audience,
        now=now,
    )


def _judge(
    upload: Upload, certificate: VerificationCertificate, policy: CollectionPolicy, now: float
) -> KeyFindings:
    """Each key by itself, then all together."""
    findings = judge_keys(
        upload.keys,
        report_type=REPORT_TYPES[certificate.report_type],
        onset=onset_of(upload, certificate, policy, now),
        policy=policy,
        now=now,
    )
    check_together(findings.accepted, policy)
    return findings


def _stored(findings: KeyFindings) -> list[TemporaryExposureKey]:
    # A negative result says that a key must not go out: of a key that was never here nothing is stored.
    return [key for key in findings.accepted if key.report_type != ReportType.REVOKED]


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
    authority: Authority,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload:
    reading = RevisionTokenReading.of(upload.revision_token, revision_keys)
    stored = _stored(findings)
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
        leaving = [shelves[at] for at in sorted(used) if shelves]
        mark = {
            "health_authority_id": authority.id,
            "onset_days": _onset_days(upload, certificate, policy, now),
            "oldest_days": _oldest_days(stored, now),
        }
        _store_receipt(session, upload, certificate, regions, leaving, mark)
    revise_stored_keys(session, [key for key in findings.accepted if key.key_data not in inserted], reading)
    return _answer(reading, findings, len(inserted), policy, revision_keys, now)


def _answer(
    reading: RevisionTokenReading,
    findings: KeyFindings,
    inserted: int,
    policy: CollectionPolicy,
    revision_keys: RevisionKeyRing,
    now: float,
) -> CollectedUpload:
    oldest_end = interval_at(now) - policy.max_age_intervals
    return CollectedUpload(
        revision_token=next_revision_token(reading, findings.accepted, revision_keys, oldest_end=oldest_end),
        inserted_exposures=inserted,
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


def _onset_days(
    upload: Upload, certificate: VerificationCertificate, policy: CollectionPolicy, now: float
) -> int | None:
    given = given_onset(upload, certificate, policy, now)
    return None if given is None else days_before(given, now, ONSET_DAYS)


def _oldest_days(keys: Sequence[TemporaryExposureKey], now: float) -> int:
    return days_before(min(key.rolling_start_interval_number for key in keys), now, OLDEST_DAYS)


def _row(
    key: TemporaryExposureKey, authority: Authority, traveler: bool, tag: bytes, shelf_id: int | None
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
    mark: Mapping[str, object],
) -> None:
    """The receipt, on the shelf that leaves first, and a mark of one more upload on each of the shelves.

    What `mark` says for the day's figures stands on the first one's alone, so that the upload counts once.
    """
    if not shelf_ids:
        return
    content = _receipt(upload, certificate)
    row = {
        "commitment": commitment(content),
        "region": regions[0],
        "content": content,
        "shelf_id": shelf_ids[0],
    }
    insert_new(session, Receipt, [row], Receipt.commitment)
    blank = {**mark, "onset_days": None, "oldest_days": None}
    marks = [
        {"shelf_id": shelf_id, "mark": new_mark(), **(blank if place else mark)}
        for place, shelf_id in enumerate(shelf_ids)
    ]
    insert_new(session, ShelfUpload, marks, ShelfUpload.shelf_id)


def _receipt(upload: Upload, certificate: VerificationCertificate) -> bytes:
    # The same bytes as the phone's: it need not be told, and the answer is as long as ever.
    return encode_receipt(receipt_of(upload.certificate, certificate, decode_base64(upload.hmac_key_text)))


def _write_answer(collected: CollectedUpload) -> bytes:
    return json.dumps(asdict(collected)).encode("ascii")


def _read_answer(answer: bytes) -> CollectedUpload:
    members = json.loads(answer)
    return CollectedUpload(**{**members, "warnings": tuple(members["warnings"])})
