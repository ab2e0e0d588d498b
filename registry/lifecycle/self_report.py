"""Part of authorizing: a person reports by themselves, and a code goes to their telephone by SMS.

The code is good only together with the 256 bytes that the phone made for it. A number gets one SMS in a UTC
day: what was asked before is told by a keyed hash whose key is destroyed with the day. The answer is the same
whether or not there was an SMS, so that nobody learns by it who has reported. Nothing of it is on record, for
it is no official's act; it is counted among the codes of the day.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.authorize import (
    IssuedCode,
    IssuingPolicy,
    Statement,
    authorize,
    check_open,
    check_statement,
    hash_nonce,
    life_of,
    rounded_expiry,
)
from registry.lifecycle.inserts import insert_into
from registry.lifecycle.undo import undo_code
from registry.models import SelfReportDay, SelfReportNumber
from registry.protocol.codes import CodeForm
from registry.protocol.intervals import utc_date

NONCE_BYTES = 256
MOST_OF_A_PREFIX = 20
"""SMS a day to numbers that differ in their last four digits alone."""

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SelfReport:
    """What a person says by themselves. Prints without the number."""

    e164: str = field(repr=False)
    nonce: bytes = field(repr=False)
    test_date: date | None
    onset_date: date | None


@dataclass(frozen=True, slots=True)
class SelfReported:
    """`expires_at` for the answer, whatever happened; and the code to send, None if there is none."""

    expires_at: int
    issued: IssuedCode | None
    number_hash: bytes = field(repr=False)


def report_oneself(
    session: Session,
    report: SelfReport,
    *,
    authority_id: str,
    api_key_hash: bytes,
    most_a_day: int,
    lookup_key: bytes,
    policy: IssuingPolicy,
    now: float,
) -> SelfReported:
    """Make the code of a number's first report of the day; nothing for another one of it.

    Refuses with `maintenance_mode`, `missing_date` and `invalid_date`, and with `quota_exceeded`, before it
    looks at the number itself, if the authority or the number's prefix has had its SMS of today.
    """
    statement = Statement(
        report_type="user-report",
        test_date=report.test_date,
        onset_date=report.onset_date,
        api_key_hash=api_key_hash,
        nonce_hash=hash_nonce(lookup_key, authority_id, report.nonce),
    )
    # All that could answer otherwise comes before the number is looked at: nobody may learn who reported.
    authority = check_open(session, authority_id)
    check_statement(statement, policy=policy, now=now)
    key = _key_of_today(session, now)
    number_hash = _hash(key, b"number", report.e164)
    prefix_hash = _hash(key, b"prefix", report.e164[:-4])
    of_authority = select(func.count()).where(SelfReportNumber.authority_id == authority_id)
    of_prefix = of_authority.where(SelfReportNumber.prefix_hash == prefix_hash)
    if (session.scalar(of_authority) or 0) >= most_a_day or (
        session.scalar(of_prefix) or 0
    ) >= MOST_OF_A_PREFIX:
        raise Refusal(RefusalCode.QUOTA_EXCEEDED, "no more self-reports today: ask your health authority")
    expires_at = rounded_expiry(now, life_of(CodeForm(authority.code_form), policy))
    if session.get(SelfReportNumber, (authority_id, number_hash)) is not None:
        return SelfReported(expires_at, None, number_hash)
    session.add(SelfReportNumber(authority_id=authority_id, number_hash=number_hash, prefix_hash=prefix_hash))
    session.flush()
    issued = authorize(
        session, statement, authority_id=authority_id, lookup_key=lookup_key, policy=policy, now=now
    )
    return SelfReported(issued.expires_at, issued, number_hash)


def take_back(session: Session, reported: SelfReported, *, authority_id: str, now: float) -> None:
    """Undo a report whose SMS was certainly not sent: the number may ask again today."""
    if reported.issued is not None and undo_code(session, reported.issued.uuid, now=now):
        session.execute(
            delete(SelfReportNumber).where(
                SelfReportNumber.authority_id == authority_id,
                SelfReportNumber.number_hash == reported.number_hash,
            )
        )


def forget_self_reports(session: Session, now: float) -> int:
    """Destroy the keys of days before today (UTC), and the hashes made with them; how many of these."""
    ended = SelfReportDay.day < utc_date(now)
    if not session.scalars(select(SelfReportDay.day).where(ended)).all():
        return 0
    gone = len(session.scalars(select(SelfReportNumber.number_hash)).all())
    session.execute(delete(SelfReportNumber))
    session.execute(delete(SelfReportDay).where(ended))
    return gone


def _key_of_today(session: Session, now: float) -> bytes:
    """The day's key, its row locked: of two reports at once the second waits, and no count is passed by."""
    today = utc_date(now)
    row = select(SelfReportDay).where(SelfReportDay.day == today).with_for_update()
    found = session.scalar(row)
    if found is None:
        # The day's first call. Another process may make the same row now: then this waits and finds it below.
        forget_self_reports(session, now)
        session.execute(
            insert_into(session, SelfReportDay)
            .values(day=today, key=secrets.token_bytes(_KEY_BYTES))
            .on_conflict_do_nothing()
        )
        found = session.scalars(row).one()
    return found.key


def _hash(key: bytes, what: bytes, text: str) -> bytes:
    return hmac.digest(key, what + b"\0" + text.encode(), "sha256")
