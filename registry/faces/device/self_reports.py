"""/api/user-report: a phone asks for a code without an official, for the number that its person types.

Off unless the authority wants it. The answer to a number that has reported today is the answer to one that
has not, in size, pace and words; the SMS goes out behind it, so that no gateway's slowness tells them apart.
If it certainly was not sent, the code is undone and the number may ask again.
"""

from flask import Flask, Response, current_app
from marshmallow import Schema

from registry.delivery.messages import Message, SmsMaker
from registry.delivery.sms import Delivery, Outcome, SmsDesk
from registry.errors import Malformed, Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.api_keys import caller_of_kind
from registry.faces.device.calls import answer_chaff, is_chaff, members_of, receive_body
from registry.faces.device.issuers import rfc1123
from registry.faces.device.messages import LANGUAGES
from registry.faces.device.phones import require_json
from registry.faces.device.schemas import UserReportRequest
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.self_report import NONCE_BYTES, SelfReport, SelfReported, report_oneself, take_back
from registry.lifecycle.sms_texts import choose_text
from registry.models import Authority, IssuingChaff, transaction
from registry.protocol.encoding import decode_base64
from registry.protocol.signed_sms import SmsPurpose

_USER_REPORT: Schema = UserReportRequest()


class SelfReportViews:
    """The endpoint for API keys of kind `device`."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face

    def user_report(self) -> Response:
        """POST /api/user-report."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "device", self._face.lookup_key)
        if is_chaff():
            return answer_chaff(session, body, _USER_REPORT, IssuingChaff)
        require_json()
        members = members_of(body, _USER_REPORT, RefusalCode.UNPARSABLE_REQUEST)
        authority = session.get_one(Authority, caller.authority_id)
        maker = self._face.sms
        if not authority.self_report or maker is None or maker.desk is None:
            raise Refusal(RefusalCode.UNSUPPORTED_TEST_TYPE, "self-reports are not taken here")
        nonce = _nonce(members["nonce"])
        if not members["phone"]:
            raise Refusal(RefusalCode.MISSING_PHONE, "'phone' is missing: the code goes there by SMS")
        number = maker.read_number(members["phone"])
        # All that can be refused of an SMS, before it is known whether there will be one.
        maker.desk.check(number)
        maker.desk.check_room()
        template = choose_text(
            session,
            caller.authority_id,
            label="",
            language=members["sms_language"] or None,
            languages=LANGUAGES,
        )
        message = maker.message(
            number,
            template,
            authority_id=caller.authority_id,
            signed=authority.sms_signed,
            purpose=SmsPurpose.SELF_REPORT,
        )
        with transaction(session):
            # A crash after this commit leaves a code that nobody has, and no other for the number today.
            reported = report_oneself(
                session,
                SelfReport(number.e164, nonce, members["test_date"], members["symptom_date"]),
                authority_id=caller.authority_id,
                api_key_hash=caller.api_key_hash,
                most_a_day=authority.self_reports_a_day,
                lookup_key=self._face.lookup_key,
                policy=self._face.policy,
                now=self._face.clock(),
            )
        self._post(maker, maker.desk, message, reported, caller.authority_id)
        expires_at = reported.expires_at
        return padded({"expiresAt": rfc1123(expires_at), "expiresAtTimestamp": expires_at})

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

        now = self._face.clock()
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
            take_back(session, reported, authority_id=authority_id, now=self._face.clock())


def _nonce(text: str) -> bytes:
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
