"""A person's own report as it is taken in, whichever face it comes to.

What the answer says to a number that has reported today is what it says to one that has not; the SMS goes out
behind the answer, so that no gateway's slowness tells them apart. If it certainly was not sent, the code is
undone and the number may ask again.
"""

from dataclasses import dataclass, field
from datetime import date

from flask import Flask, current_app
from sqlalchemy.orm import Session

from registry.delivery.messages import Message, SmsMaker
from registry.delivery.sms import Delivery, Outcome, SmsDesk
from registry.errors import Malformed, Refusal, RefusalCode
from registry.faces.database import db
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.self_report import NONCE_BYTES, SelfReport, SelfReported, report_oneself, take_back
from registry.lifecycle.sms_texts import choose_text
from registry.models import Authority, transaction
from registry.protocol.encoding import decode_base64
from registry.protocol.intervals import Clock
from registry.protocol.signed_sms import SmsPurpose
from registry.protocol.sms_text import DEFAULT_TEMPLATES


@dataclass(frozen=True, slots=True)
class OwnReport:
    """What somebody reports, and by which app. Prints without the number."""

    authority_id: str
    api_key_hash: bytes = field(repr=False)
    phone: str = field(repr=False)
    """As it was typed."""
    nonce: bytes = field(repr=False)
    test_date: date | None
    onset_date: date | None
    language: str | None
    """Of the SMS; None for the first that the authority has a text in."""


@dataclass(frozen=True)
class SelfReportDesk:
    """Takes reports in and sends their codes, for the face whose request is under way."""

    clock: Clock
    lookup_key: bytes = field(repr=False)
    policy: IssuingPolicy
    sms: SmsMaker | None

    def sender(self, authority: Authority) -> tuple[SmsMaker, SmsDesk]:
        """What sends its SMS. Refuses with `unsupported_test_type` if it takes none, or none can be sent."""
        if not authority.self_report or self.sms is None or self.sms.desk is None:
            raise Refusal(RefusalCode.UNSUPPORTED_TEST_TYPE, "self-reports are not taken here")
        return self.sms, self.sms.desk

    def take(self, session: Session, report: OwnReport) -> int:
        """Take a report in and send its code, if the number has had none today; the expiry for the answer.

        Refuses as `sender` does, with `missing_phone`, `phone_number_invalid`, `sms_failure` (no gateway for
        the country), `sms_queue_full`, `unparsable_request` (no text in the language) and as `report_oneself`
        does. Raises Unavailable where an SMS cannot be signed that must be.
        """
        authority = session.get_one(Authority, report.authority_id)
        maker, desk = self.sender(authority)
        if not report.phone:
            raise Refusal(RefusalCode.MISSING_PHONE, "'phone' is missing: the code goes there by SMS")
        number = maker.read_number(report.phone)
        # All that can be refused of an SMS, before it is known whether there will be one.
        desk.check(number)
        desk.check_room()
        template = choose_text(
            session,
            report.authority_id,
            label="",
            language=report.language,
            languages=tuple(DEFAULT_TEMPLATES),
        )
        message = maker.message(
            number,
            template,
            authority_id=report.authority_id,
            signed=authority.sms_signed,
            purpose=SmsPurpose.SELF_REPORT,
        )
        with transaction(session):
            # A crash after this commit leaves a code that nobody has, and no other for the number today.
            reported = report_oneself(
                session,
                SelfReport(number.e164, report.nonce, report.test_date, report.onset_date),
                authority_id=report.authority_id,
                api_key_hash=report.api_key_hash,
                most_a_day=authority.self_reports_a_day,
                lookup_key=self.lookup_key,
                policy=self.policy,
                now=self.clock(),
            )
        self._post(maker, desk, message, reported, report.authority_id)
        return reported.expires_at

    def _post(
        self, maker: SmsMaker, desk: SmsDesk, message: Message, reported: SelfReported, authority_id: str
    ) -> None:
        issued = reported.issued
        if issued is None:
            return
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

        def settle(outcome: Outcome) -> None:
            if outcome.delivery in {Delivery.REFUSED, Delivery.FAILED}:
                with app.app_context():
                    self._take_back(reported, authority_id)

        now = self.clock()
        values = maker.values(issued.code, issued.link_code, issued.expires_at, now)
        try:
            desk.post(maker.sms(message, values, now), settle)
        except Refusal:
            self._take_back(reported, authority_id)
            raise

    def _take_back(self, reported: SelfReported, authority_id: str) -> None:
        session = db.session()
        with transaction(session):
            # A crash before this commit leaves a code that nobody has, and no other for the number today.
            take_back(session, reported, authority_id=authority_id, now=self.clock())


def read_nonce(text: str) -> bytes:
    """The bytes that the phone made for its report, from base64. Refuses with `missing_nonce`, and with
    `unparsable_request` what is not `NONCE_BYTES` of them."""
    if not text:
        raise Refusal(RefusalCode.MISSING_NONCE, "'nonce' is missing: base64 of 256 random bytes")
    try:
        nonce = decode_base64(text)
    except Malformed:
        nonce = b""
    if len(nonce) != NONCE_BYTES:
        # A fault of the app's, and no probe: it is told so, instead of being taken for a repetition.
        raise Refusal(RefusalCode.UNPARSABLE_REQUEST, f"'nonce' must be {NONCE_BYTES} bytes in base64")
    return nonce
