"""The phone's half of a receipt: the record of what the person agreed to, and the receipt's bytes.

The record stays on the phone: only its hash under a random salt leaves it, inside the certificate. The
receipt's bytes are made here exactly as the registry makes them, so that no answer need carry them; with
them the person can show that the keys were published with this agreement, and to nobody else need anything
be shown. Sends nothing.
"""

from collections.abc import Iterable
from datetime import date
from hashlib import sha256

from registry.client.remembered import KeptReceipt, PendingUpload
from registry.client.texts import UPLOAD_TEXTS_VERSION, Language
from registry.errors import Malformed
from registry.protocol.certificate import read_certificate
from registry.protocol.encoding import decode_json_object, encode_base64, encode_json
from registry.protocol.intervals import utc_date
from registry.protocol.receipt import commitment, encode_receipt, receipt_of

CONSENT_SALT_BYTES = 32

_VERSION = 1


def consent_record(days: Iterable[date], *, language: Language, region: str, now: float) -> bytes:
    """Canonical JSON of what the person agrees to: which text in which language, for which days, today (UTC).

    `region` is where the phone belongs. The kind of the result is put in by `with_report_type`.
    """
    return encode_json(
        {
            "v": _VERSION,
            "agreed_on": utc_date(now).isoformat(),
            "days": sorted(day.isoformat() for day in days),
            "language": language,
            "region": region,
            "version": UPLOAD_TEXTS_VERSION,
        }
    )


def with_report_type(record: bytes, report_type: str) -> bytes:
    """The record with the kind of result that goes with the keys: known once the code has been exchanged."""
    return encode_json({**decode_json_object(record, "consent record").as_dict(), "report_type": report_type})


def consent_hash(salt: bytes, record: bytes) -> bytes:
    """SHA-256 over the salt (32 random bytes) and the record: `consentHash`."""
    return sha256(salt + record).digest()


def consent_members(pending: PendingUpload) -> dict[str, str]:
    """What the request for a certificate says of the agreement; nothing for uploads agreed to without one."""
    if pending.consent_record is None or pending.consent_salt is None:
        return {}
    record = decode_json_object(pending.consent_record, "consent record")
    return {
        "consentHash": encode_base64(consent_hash(pending.consent_salt, pending.consent_record)),
        "consentVersion": record.text("version"),
    }


def make_receipt(pending: PendingUpload, certificate: str) -> bytes | None:
    """The receipt of this upload with this certificate, encoded; None for a certificate of another form.

    Raises Malformed if the certificate states another agreement than the person's.
    """
    try:
        stated = read_certificate(certificate)
    except Malformed:
        # Not ours to judge: whether the certificate is good the registry says, and such a one has no receipt.
        return None
    if pending.consent_record is not None and pending.consent_salt is not None:
        agreed = consent_hash(pending.consent_salt, pending.consent_record)
        if stated.consent_hash not in (None, agreed):
            raise Malformed("the certificate states another agreement than the one given on this phone")
    return encode_receipt(receipt_of(certificate, stated, pending.hmac_key))


def kept_receipt(pending: PendingUpload, *, newest_key_end: int) -> KeptReceipt | None:
    """What the phone keeps of a finished upload; None if it has no receipt."""
    if pending.receipt is None:
        return None
    return KeptReceipt(
        commitment=commitment(pending.receipt),
        content=pending.receipt,
        consent_record=pending.consent_record,
        consent_salt=pending.consent_salt,
        newest_key_end=newest_key_end,
    )


def receipt_members(kept: KeptReceipt) -> dict[str, object]:
    """A kept receipt for programs and auditors: what was hashed as text (UTF-8), everything else in base64.

    `commitment` = SHA-256 of `content`; `consent.hash` = SHA-256 of `consent.salt` and `consent.record`.
    """
    members: dict[str, object] = {
        "commitment": encode_base64(kept.commitment),
        "content": kept.content.decode(),
    }
    if kept.consent_record is not None and kept.consent_salt is not None:
        members["consent"] = {
            "hash": encode_base64(consent_hash(kept.consent_salt, kept.consent_record)),
            "record": kept.consent_record.decode(),
            "salt": encode_base64(kept.consent_salt),
        }
    return members
