"""Uploading: verify the code, have the keys certified, upload them. The phone's side of steps 2 and 3.

Every request is stored before it is first sent and then sent again byte for byte until it is answered, so
that a lost reply costs nothing: the registry repeats its answer for a day. All requests have one size. Must
never send anything before the person has agreed, nor let a code, token or key into a log or an address.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from registry.client.failures import (
    Mistyped,
    NothingToUpload,
    UploadRefused,
    UploadUnderWay,
)
from registry.client.receipts import (
    CONSENT_SALT_BYTES,
    consent_members,
    consent_record,
    kept_receipt,
    make_receipt,
    with_report_type,
)
from registry.client.refusals import WRONG_AUTHORITY_CODES, read_refusal
from registry.client.remembered import PendingUpload, Registration
from registry.client.store import PhoneStore
from registry.client.texts import Language, printable
from registry.client.transport import RandomBytes, Transport
from registry.errors import Malformed
from registry.protocol.codes import form_of, is_well_formed, normalise
from registry.protocol.encoding import JsonObject, decode_json_object, encode_base64
from registry.protocol.intervals import Clock, date_of_interval, interval_of_date, utc_date
from registry.protocol.keys import KEY_BYTES, TemporaryExposureKey
from registry.protocol.mac import MacSegment, upload_mac

BODY_BYTES = 8_000
"""Every request of an upload has this size. The field's is 5,000 or more; an upload with a revision token
and 15 keys does not fit into 5,000, and would be told apart from the two requests before it."""
LEAST_PADDING_BYTES = 24
MAX_ANSWER_BYTES = 256 * 1024
HMAC_KEY_BYTES = 16
TRANSMISSION_RISK = 1
"""The value that existing apps send for "not assessed"; the field is deprecated and nothing builds on it."""
ACCEPTED_TEST_TYPES = ("confirmed", "likely", "negative", "user-report")
LONGEST_CODE = 64
_LINK = re.compile(r"/v\?(?:\S*&)?c=([^&#\s]+)", re.IGNORECASE)
"""A link as `protocol.codes.link_of` makes it, whatever a browser or a message has added."""

JSON_HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
_START_BYTES = 4


@dataclass(frozen=True, slots=True)
class SharedDay:
    """One line of what the person is asked to agree to: the UTC day of a key; today's is published later."""

    day: date
    is_today: bool


@dataclass(frozen=True, slots=True)
class UploadReceipt:
    """What the registry took in.

    `keys_taken` counts keys that it did not have before; `changed_earlier` says that it also had an earlier
    upload brought into line with this one. `partial` says why some keys were left out, if they were.
    """

    keys_taken: int
    changed_earlier: bool
    warnings: tuple[str, ...]
    partial: str | None


def days_to_share(keys: Iterable[TemporaryExposureKey], *, now: float) -> list[SharedDay]:
    """What an upload would share, oldest day first."""
    days = sorted(date_of_interval(key.rolling_start_interval_number) for key in keys)
    return [SharedDay(day, day == utc_date(now)) for day in days]


def check_can_upload(registration: Registration) -> None:
    """Raises `NothingToUpload`, which names what is missing, unless the phone was given all it needs."""
    missing = [
        f"{what} ({option})"
        for what, option, given in (
            ("an API key", "--api-key-file", registration.device_api_key),
            ("a health authority", "--health-authority", registration.health_authority_id),
        )
        if not given
    ]
    if missing:
        raise NothingToUpload(
            f"this phone cannot upload without {' and '.join(missing)}: run `init` for it again"
        )


def agree(
    store: PhoneStore,
    code: str,
    *,
    clock: Clock,
    random_bytes: RandomBytes,
    leave_out: Collection[date] = (),
    language: Language = "en",
) -> PendingUpload:
    """The person has seen `days_to_share` and agreed: fixes the keys and the first request. Sends nothing.

    The keys of the UTC days in `leave_out` stay on the phone. What was agreed to, in `language`, is written
    down in the consent record. The same code again returns the upload under
    way. Raises `Mistyped`, `UploadUnderWay` for another code, `NothingToUpload` if no key is left to share or
    the phone was set up without what an upload needs.
    """
    code = read_code(code)
    pending = store.pending_upload()
    if pending is not None:
        if pending.code != code:
            raise UploadUnderWay("another upload is not finished: upload without a code to go on with it")
        return pending
    registration = store.registration()
    check_can_upload(registration)
    keys = [
        key
        for key in store.own_keys()
        if date_of_interval(key.rolling_start_interval_number) not in leave_out
    ]
    if not keys:
        raise NothingToUpload("this phone has no keys that may be shared")
    now = clock()
    pending = PendingUpload(
        agreed_at=int(now),
        code=code,
        hmac_key=random_bytes(HMAC_KEY_BYTES),
        keys=b"".join(
            key.key_data + key.rolling_start_interval_number.to_bytes(_START_BYTES, "big") for key in keys
        ),
        verify_request=padded_body({"code": code, "accept": ACCEPTED_TEST_TYPES}, random_bytes),
        consent_record=consent_record(
            (shared.day for shared in days_to_share(keys, now=now)),
            language=language,
            region=registration.region,
            now=now,
        ),
        consent_salt=random_bytes(CONSENT_SALT_BYTES),
    )
    with store.all_or_nothing():
        store.put_pending_upload(pending)
    return pending


def carry_on(
    store: PhoneStore, transport: Transport, *, clock: Clock, random_bytes: RandomBytes
) -> UploadReceipt:
    """Takes the upload agreed to from wherever it stands to its end.

    Raises `NothingToUpload`, `UploadRefused` (if `final`, the upload is dropped), `FetchFailed` or
    `Malformed` (call again later: nothing is lost). A crash anywhere is mended by calling again.
    """
    pending = store.pending_upload()
    if pending is None:
        raise NothingToUpload("no upload is under way: upload with the code from the health official")
    run = _Run(store, transport, store.registration(), clock())
    if pending.certificate_request is None:
        pending = run.verify(pending, random_bytes)
    if pending.publish_request is None:
        pending = run.certify(pending, random_bytes)
    return run.publish(pending)


class _Run:
    """One attempt to finish an upload."""

    def __init__(
        self, store: PhoneStore, transport: Transport, registration: Registration, now: float
    ) -> None:
        self._store = store
        self._transport = transport
        self._registration = registration
        self._now = now

    def verify(self, pending: PendingUpload, random_bytes: RandomBytes) -> PendingUpload:
        """Code for token."""
        answer = self._post("/api/verify", pending.verify_request, with_api_key=True)
        symptom_date = answer.text("symptomDate") if "symptomDate" in answer else None
        if symptom_date is not None:
            _onset_interval(symptom_date)
        report_type = answer.text("testtype")
        if pending.consent_record is not None:
            pending = replace(pending, consent_record=with_report_type(pending.consent_record, report_type))
        mac = upload_mac(pending.hmac_key, map(_segment, _keys(pending)))
        members = {
            "token": answer.text("token"),
            "ekeyhmac": encode_base64(mac),
            **consent_members(pending),
        }
        return self._keep(
            replace(
                pending,
                report_type=report_type,
                symptom_date=symptom_date,
                certificate_request=padded_body(members, random_bytes),
            )
        )

    def certify(self, pending: PendingUpload, random_bytes: RandomBytes) -> PendingUpload:
        """Token, the MAC of exactly these keys and the hash of the consent record for a certificate."""
        answer = self._post("/api/certificate", pending.certificate_request or b"", with_api_key=True)
        certificate = answer.text("certificate")
        members: dict[str, object] = {
            "temporaryExposureKeys": [
                {
                    "key": encode_base64(key.key_data),
                    "rollingStartNumber": key.rolling_start_interval_number,
                    "rollingPeriod": key.rolling_period,
                    "transmissionRisk": TRANSMISSION_RISK,
                }
                for key in _keys(pending)
            ],
            "healthAuthorityID": self._registration.health_authority_id,
            "hmacKey": encode_base64(pending.hmac_key),
            "verificationPayload": certificate,
            "traveler": False,
        }
        if pending.symptom_date is not None:
            members["symptomOnsetInterval"] = _onset_interval(pending.symptom_date)
        if (revision_token := self._store.revision_token()) is not None:
            members["revisionToken"] = revision_token
        return self._keep(
            replace(
                pending,
                publish_request=padded_body(members, random_bytes),
                receipt=make_receipt(pending, certificate),
            )
        )

    def publish(self, pending: PendingUpload) -> UploadReceipt:
        """Keys and certificate to the registry."""
        try:
            answer = self._post("/v1/publish", pending.publish_request or b"", with_api_key=False)
        except UploadRefused as refused:
            if refused.code in WRONG_AUTHORITY_CODES:
                # The request names the authority. It is built anew for the right one: the request before it
                # gets a certificate again, so the code is not lost.
                self._keep(replace(pending, publish_request=None))
            raise
        # A 200 without a revision token is a server's fault by the contract: the same bytes go out again.
        revision_token = answer.text("revisionToken")
        keys_taken = answer.integer("insertedExposures") if "insertedExposures" in answer else 0
        # Keys that were neither new nor left out were here already, and now stand for this result.
        left_out = "error" in answer or "warnings" in answer
        known = not left_out and keys_taken < len(_keys(pending))
        receipt = UploadReceipt(
            keys_taken=keys_taken,
            changed_earlier=self._store.revision_token() is not None and known,
            warnings=tuple(map(printable, answer.texts("warnings") if "warnings" in answer else ())),
            partial=printable(answer.text("error")) if "error" in answer else None,
        )
        # For an upload that brought no new key the registry keeps no receipt either.
        newest_key_end = max(key.end_interval_number for key in _keys(pending))
        kept = kept_receipt(pending, newest_key_end=newest_key_end) if keys_taken else None
        with self._store.all_or_nothing():
            self._store.put_revision_token(revision_token)
            if kept is not None:
                self._store.keep_receipt(kept)
            self._store.drop_pending_upload()
        return receipt

    def _keep(self, pending: PendingUpload) -> PendingUpload:
        # A crash before this commit: the request before is sent again, and its answer is the same.
        with self._store.all_or_nothing():
            self._store.put_pending_upload(pending)
        return pending

    def _post(self, path: str, body: bytes, *, with_api_key: bool) -> JsonObject:
        headers = dict(JSON_HEADERS)
        if with_api_key:
            headers["X-API-Key"] = self._registration.device_api_key or ""
        answer = self._transport.post(self._registration.device_url + path, headers, body, MAX_ANSWER_BYTES)
        if answer.status == 200:
            return decode_json_object(answer.body, path)
        refused = read_refusal(answer, path, self._now)
        if isinstance(refused, UploadRefused) and refused.final:
            with self._store.all_or_nothing():
                self._store.drop_pending_upload()
        raise refused


def read_code(text: str) -> str:
    """The code as it is sent. Raises `Mistyped` if it cannot be one; asks nobody."""
    link = _LINK.search(text)
    code = normalise(link[1] if link else text)
    if not code or len(code) > LONGEST_CODE or not code.isalnum():
        raise Mistyped("a verification code consists of letters and digits")
    # Other lengths are other authorities' codes; whether they are right only the registry can tell.
    if form_of(code) is not None and not is_well_formed(code):
        raise Mistyped("the code's check character does not fit: compare it character by character")
    return code


def _keys(pending: PendingUpload) -> list[TemporaryExposureKey]:
    size = KEY_BYTES + _START_BYTES
    records = [pending.keys[place : place + size] for place in range(0, len(pending.keys), size)]
    return [
        TemporaryExposureKey(record[:KEY_BYTES], int.from_bytes(record[KEY_BYTES:], "big"))
        for record in records
    ]


def _segment(key: TemporaryExposureKey) -> MacSegment:
    return MacSegment(
        encode_base64(key.key_data), key.rolling_start_interval_number, key.rolling_period, TRANSMISSION_RISK
    )


def _onset_interval(symptom_date: str) -> int:
    try:
        return interval_of_date(date.fromisoformat(symptom_date))
    except ValueError as error:
        raise Malformed("the registry's symptomDate is not a date") from error


def padded_body(members: Mapping[str, object], random_bytes: RandomBytes) -> bytes:
    """JSON of exactly `BODY_BYTES`, or of the next multiple that holds it, filled up with random padding."""
    bare = len(_encode(members, ""))
    size = -(-(bare + LEAST_PADDING_BYTES * 2) // BODY_BYTES) * BODY_BYTES
    padding = encode_base64(random_bytes((size - bare) // 4 * 3))
    body = _encode(members, padding)
    # Base64 grows by fours; white space, which JSON allows here, makes up the rest.
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


def _encode(members: Mapping[str, object], padding: str) -> bytes:
    return json.dumps({**members, "padding": padding}, separators=(",", ":")).encode()
