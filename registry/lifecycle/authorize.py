"""Step 1 of a key's life: an official, or a lab's system, states a positive result and gets a code for it.

Writes one `Authorization`, one `VerificationCode` (keyed hash, dates, expiry) and the act, in the
authority's activity chain, in the caller's transaction, and hands the code back once. Must never store, log
or repeat a code in clear, must never store the moment of an act (the day and a rounded expiry are all), and
learns nothing that names a person.
"""

import hashlib
import hmac
import math
import re
import secrets
import uuid as uuids
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.counts import CountKind, count_one
from registry.lifecycle.quota import QuotaPolicy, take_one
from registry.models import Authority, Authorization, VerificationCode
from registry.protocol.activity import ActKind
from registry.protocol.codes import CodeForm, new_code, new_link_code, normalise
from registry.protocol.intervals import utc_date

EXPIRY_GRAIN_SECONDS = 900
MOST_SHORT_SECONDS = 3600
"""That a code of eight digits lives."""
ISSUABLE_REPORT_TYPES = frozenset({"confirmed", "likely", "negative"})
ACTIVE_SECONDS = 1800
"""How long a code lives that a phone has made, once an official has activated it."""
CALENDAR_SLACK = timedelta(days=1)
"""An official's calendar may be a day ahead of or behind UTC, and no client's offset is to be trusted."""

_EXTERNAL_ISSUER_LENGTH = 255
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CODE_ATTEMPTS = 8
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class IssuingPolicy:
    """How long what the issuing half hands out lives, and how old a date may be."""

    code_life_seconds: int = 86_400
    oldest_date_days: int = 28
    token_life_seconds: int = 86_400
    certificate_life_seconds: int = 900
    token_issuer: str = "exposure-registry"  # noqa: S105  # an issuer's name, not a secret
    quota: QuotaPolicy = field(default=QuotaPolicy())


@dataclass(frozen=True, slots=True)
class Statement:
    """What is stated about one person, by whom. `report_type` is the contract's word for it.

    An official (`official_id`) must also state the person's agreement: the version of the text, the
    language it was given in, and how. `uuid` is the caller's own handle, which makes a repetition visible.
    """

    report_type: str
    test_date: date | None
    onset_date: date | None
    official_id: str | None = None
    api_key_hash: bytes | None = None
    external_issuer_id: str | None = None
    consent_version: str | None = None
    consent_language: str | None = None
    consent_channel: str | None = None
    uuid: str | None = None
    nonce_hash: bytes | None = None
    """Of a self-report, and of it alone: what the phone must show with the code (`hash_nonce`)."""


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code in clear, for the one answer that hands it over. `expires_at` is in unix seconds."""

    uuid: str
    code: str = field(repr=False)
    link_code: str = field(repr=False)
    """The same for links and QR codes: either is used up with the other."""
    expires_at: int
    authorization_id: str
    """By which the statement can be recalled; never a part of any answer to a phone."""


@dataclass(frozen=True, slots=True)
class CodeStatus:
    """Whether a phone has used the code, and when it ends or ended (unix seconds)."""

    claimed: bool
    expires_at: int


def authorize(
    session: Session,
    statement: Statement,
    *,
    authority_id: str,
    lookup_key: bytes,
    policy: IssuingPolicy,
    now: float,
    phone_code: str | None = None,
    random_below: Callable[[int], int] = secrets.randbelow,
) -> IssuedCode:
    """Record the statement and make its code; the caller's transaction makes both durable, or neither.

    It ends soon after this: the act is appended to the authority's chain, whose head stays locked.

    `phone_code` is a code that the person's phone has made: then none is drawn, and it is good for half an
    hour alone, for the phone waits for it.

    Refuses with `maintenance_mode`, `invalid_test_type`, `unsupported_test_type` (self-reports are not
    issued here), `missing_date` (no date at all), `invalid_date`, `uuid_already_exists`,
    `unparsable_request` (a handle that is no UUID, an issuer's name that is too long), `bad_request` (an
    official's statement without the person's agreement), `code_invalid` (a phone's code that is taken) and
    `quota_exceeded`. After a refusal the caller must roll back.
    """
    authority = check_open(session, authority_id)
    check_statement(statement, policy=policy, now=now)
    handle = _handle_of(statement)
    authorization = Authorization(
        id=str(uuids.uuid4()),
        authority_id=authority_id,
        official_id=statement.official_id,
        api_key_hash=statement.api_key_hash,
        external_issuer_id=statement.external_issuer_id,
        report_type=statement.report_type,
        consent_version=statement.consent_version,
        consent_language=statement.consent_language,
        consent_channel=statement.consent_channel,
        stated_on=utc_date(now),
        attestation_salt=secrets.token_bytes(_SALT_BYTES),
    )
    session.add(authorization)
    session.flush()
    form = CodeForm(authority.code_form) if phone_code is None else CodeForm.DIGITS
    expires_at = rounded_expiry(now, life_of(form, policy, phone_made=phone_code is not None))
    for _ in range(_CODE_ATTEMPTS if phone_code is None else 1):
        # Of 130 bits no second draw is to be expected, and none is made.
        code, link_code = phone_code or new_code(random_below, form), new_link_code(secrets.randbelow)
        row = VerificationCode(
            uuid=handle,
            authorization_id=authorization.id,
            authority_id=authority_id,
            code_hash=hash_code(lookup_key, authority_id, code),
            link_hash=hash_code(lookup_key, authority_id, link_code),
            code_form=form.value,
            report_type=statement.report_type,
            test_date=statement.test_date,
            onset_date=statement.onset_date,
            expires_at=expires_at,
            phone_made=phone_code is not None,
            nonce_hash=statement.nonce_hash,
        )
        if _stored(session, row):
            if statement.nonce_hash is not None:
                # No official's act: what a phone does is never on record, and strangers could use up what
                # officials may issue. The authority's number of self-reports a day bounds these.
                count_one(session, CountKind.ISSUED, now)
                return IssuedCode(handle, code, link_code, expires_at, authorization.id)
            take_one(
                session,
                authority_id=authority_id,
                official_id=statement.official_id,
                api_key_hash=statement.api_key_hash,
                policy=policy.quota,
                now=now,
            )
            count_one(session, CountKind.ISSUED, now)
            actor = actor_of(
                official_id=statement.official_id,
                api_key_hash=statement.api_key_hash,
                authority_id=authority_id,
            )
            record_of_code(session, ActKind.CODE_ISSUED, authority_id, actor, authorization.id, now)
            return IssuedCode(handle, code, link_code, expires_at, authorization.id)
    if phone_code is not None:
        raise Refusal(RefusalCode.CODE_INVALID, "this code is taken: let the phone make another one")
    raise RuntimeError("the source of randomness repeats itself: no fresh code in several attempts")


def check_open(session: Session, authority_id: str) -> Authority:
    """The authority, unless it is under maintenance, when codes are neither made nor taken: then it refuses
    with `maintenance_mode`."""
    authority = session.get_one(Authority, authority_id)
    if authority.maintenance:
        raise Refusal(
            RefusalCode.MAINTENANCE_MODE, "the health authority is under maintenance: try again in an hour"
        )
    return authority


def check_statement(statement: Statement, *, policy: IssuingPolicy, now: float) -> None:
    """Refuse a statement that cannot stand; see `authorize` for the codes. Touches no database."""
    is_self_report = statement.nonce_hash is not None
    if (statement.report_type == "user-report") is not is_self_report:
        raise Refusal(RefusalCode.UNSUPPORTED_TEST_TYPE, "self-reports are not issued here")
    if not is_self_report and statement.report_type not in ISSUABLE_REPORT_TYPES:
        raise Refusal(RefusalCode.INVALID_TEST_TYPE, "the test type must be confirmed, likely or negative")
    if statement.test_date is None and statement.onset_date is None:
        raise Refusal(RefusalCode.MISSING_DATE, "give the date of the test or of the first symptoms")
    earliest, latest = date_limits(policy, now)
    for stated in (statement.test_date, statement.onset_date):
        if stated is not None and not earliest <= stated <= latest:
            raise Refusal(RefusalCode.INVALID_DATE, f"dates must lie between {earliest} and {latest}")
    if statement.external_issuer_id and len(statement.external_issuer_id) > _EXTERNAL_ISSUER_LENGTH:
        raise Refusal(
            RefusalCode.UNPARSABLE_REQUEST,
            f"the external issuer must have {_EXTERNAL_ISSUER_LENGTH} characters or fewer",
        )
    agreement = (statement.consent_version, statement.consent_language, statement.consent_channel)
    if statement.official_id is not None and not all(agreement):
        raise Refusal(
            RefusalCode.BAD_REQUEST,
            "record the person's agreement: the text's version, its language and how it was given",
        )


def life_of(form: CodeForm, policy: IssuingPolicy, *, phone_made: bool = False) -> int:
    """Seconds that a code of this form lives, before they are rounded up to a quarter of an hour.

    Eight digits are good for an hour at most, with what rounding adds, whatever the policy says; and one that
    a phone has made, for half an hour.
    """
    life = min(policy.code_life_seconds, ACTIVE_SECONDS) if phone_made else policy.code_life_seconds
    return min(life, MOST_SHORT_SECONDS - EXPIRY_GRAIN_SECONDS) if form is CodeForm.SHORT else life


def date_limits(policy: IssuingPolicy, now: float) -> tuple[date, date]:
    """The earliest and the latest day that a statement may name, both inclusive."""
    today = utc_date(now)
    return today - timedelta(days=policy.oldest_date_days) - CALENDAR_SLACK, today + CALENDAR_SLACK


def rounded_expiry(now: float, life_seconds: int) -> int:
    """`now` + life, rounded up to a quarter of an hour (unix seconds), so that it does not tell `now`."""
    return math.ceil((now + life_seconds) / EXPIRY_GRAIN_SECONDS) * EXPIRY_GRAIN_SECONDS


def ended_at(now: float) -> int:
    """The last quarter of an hour before now (unix seconds): the expiry of what ends at once."""
    return (math.ceil(now / EXPIRY_GRAIN_SECONDS) - 1) * EXPIRY_GRAIN_SECONDS


def code_status(
    session: Session, uuid: str, *, authority_id: str, api_key_hash: bytes | None = None
) -> CodeStatus:
    """What became of a code, by its issuer's handle.

    Refuses with `code_not_found` (also for a malformed handle or another authority's code) and, when an
    API key asks, `code_user_unauthorized` for a code that it did not issue itself.
    """
    row = code_of(session, uuid, authority_id=authority_id, api_key_hash=api_key_hash)
    return CodeStatus(claimed=row.claimed, expires_at=row.expires_at)


def expire_code(
    session: Session, uuid: str, *, authority_id: str, now: float, api_key_hash: bytes | None = None
) -> int:
    """End a code that no phone has used, at once; the answer is its expiry in unix seconds.

    The stored expiry is the last quarter of an hour before now, so that it tells no more than the first
    one did. A code that has ended already keeps its time. Refuses as `code_status` does, and with
    `bad_request` if the code has been claimed. The act is appended to the authority's chain.
    """
    row = code_of(session, uuid, authority_id=authority_id, api_key_hash=api_key_hash)
    if row.claimed:
        raise Refusal(RefusalCode.BAD_REQUEST, "the code has been used and cannot be expired any more")
    row.expires_at = expires_at = min(row.expires_at, ended_at(now))
    session.flush()
    actor = actor_of(official_id=None, api_key_hash=api_key_hash, authority_id=authority_id)
    record_of_code(session, ActKind.CODE_EXPIRED, authority_id, actor, row.authorization_id, now)
    return expires_at


def hash_code(lookup_key: bytes, authority_id: str, code: str) -> bytes:
    """HMAC-SHA256 (32 bytes) under which a code of either kind is stored and found; spelling variants hash
    alike, and no code of one kind is one of the other."""
    return _keyed_hash(lookup_key, b"verification-code", authority_id, normalise(code))


def hash_nonce(lookup_key: bytes, authority_id: str, nonce: bytes) -> bytes:
    """HMAC-SHA256 (32 bytes) of what a phone made for its self-report, and shows with the code."""
    return _keyed_hash(lookup_key, b"nonce", authority_id, nonce.hex())


def hash_api_key(lookup_key: bytes, api_key: str) -> bytes:
    """HMAC-SHA256 (32 bytes) under which an API key is stored and found."""
    return _keyed_hash(lookup_key, b"api-key", api_key)


def hash_printed_code(lookup_key: bytes, code: str) -> bytes:
    """HMAC-SHA256 (32 bytes) under which a code on an official's sheet is stored and found."""
    return _keyed_hash(lookup_key, b"printed-code", code)


def record_of_code(
    session: Session, kind: ActKind, authority_id: str, actor: str, authorization_id: str, now: float
) -> None:
    """Append what was done with a code to the authority's chain; see `record_act`."""
    # The act names the authorization, never the code's handle, which its issuer may have put anywhere.
    detail = {"authorization": authorization_id}
    record_act(session, chain=authority_id, kind=kind, actor=actor, detail=detail, now=now)


def _keyed_hash(lookup_key: bytes, domain: bytes, *parts: str) -> bytes:
    # Every part goes in with its length, so that no two lists of parts make the same message.
    message = b"exposure-registry/" + domain
    for part in parts:
        encoded = part.encode()
        message += len(encoded).to_bytes(4, "big") + encoded
    return hmac.new(lookup_key, message, hashlib.sha256).digest()


def _handle_of(statement: Statement) -> str:
    if statement.uuid is None:
        return str(uuids.uuid4())
    canonical = _canonical_uuid(statement.uuid)
    if canonical is None:
        raise Refusal(RefusalCode.UNPARSABLE_REQUEST, "the uuid must be a UUID, 36 characters with hyphens")
    return canonical


def _canonical_uuid(text: str) -> str | None:
    """Lower case; None for what has not the 36 characters of RFC 9562 §4, whatever else spells a UUID."""
    # Not the standard library's reading: that takes braces, underscores, signs and other scripts' digits.
    canonical = text.lower()
    return canonical if _UUID.fullmatch(canonical) else None


def _stored(session: Session, row: VerificationCode) -> bool:
    """Whether the row went in; False if another code has this hash. Refuses a handle that is taken."""
    if session.get(VerificationCode, row.uuid) is not None:
        raise _handle_taken()
    handle, code_hash = row.uuid, row.code_hash
    try:
        # A savepoint: what another transaction committed meanwhile costs this row, not the caller's work.
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        if session.get(VerificationCode, handle) is not None:
            raise _handle_taken() from None
        if session.scalar(select(VerificationCode.uuid).filter_by(code_hash=code_hash)) is None:
            raise
        return False
    return True


def _handle_taken() -> Refusal:
    return Refusal(
        RefusalCode.UUID_ALREADY_EXISTS, "a code with this uuid exists already; ask with a new one"
    )


def code_of(
    session: Session,
    uuid: str,
    *,
    authority_id: str,
    api_key_hash: bytes | None = None,
    official_id: str | None = None,
    lock: bool = True,
) -> VerificationCode:
    """The code of that handle, locked unless it is only to be looked at; refuses as `code_status` does.

    To an official a code that somebody else issued is not there at all.
    """
    not_found = Refusal(RefusalCode.CODE_NOT_FOUND, "there is no code with this uuid")
    canonical = _canonical_uuid(uuid)
    if canonical is None:
        raise not_found
    # Locked: a phone that claims the code now is before or after this, never in between.
    wanted = select(VerificationCode).filter_by(uuid=canonical, authority_id=authority_id)
    row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise not_found
    if api_key_hash is not None:
        issuer = session.scalar(select(Authorization.api_key_hash).filter_by(id=row.authorization_id))
        if issuer is None or not hmac.compare_digest(issuer, api_key_hash):
            raise Refusal(RefusalCode.CODE_USER_UNAUTHORIZED, "another issuer handed out this code")
    if official_id is not None:
        stated_by = session.scalar(select(Authorization.official_id).filter_by(id=row.authorization_id))
        if stated_by != official_id:
            raise not_found
    return row
