"""/api/user-report: a phone asks for a code without an official, for the number that its person types.

Off unless the authority wants it. The answer to a number that has reported today is the answer to one that
has not, in size, pace and words.
"""

from flask import Response
from marshmallow import Schema

from registry.errors import RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.api_keys import caller_of_kind
from registry.faces.device.calls import answer_chaff, is_chaff, members_of, receive_body
from registry.faces.device.issuers import rfc1123
from registry.faces.device.phones import require_json
from registry.faces.device.schemas import UserReportRequest
from registry.faces.device.settings import IssuingFace
from registry.faces.self_reports import OwnReport, SelfReportDesk, read_nonce
from registry.models import Authority, IssuingChaff

_USER_REPORT: Schema = UserReportRequest()


class SelfReportViews:
    """The endpoint for API keys of kind `device`."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face
        self._desk = SelfReportDesk(face.clock, face.lookup_key, face.policy, face.sms)

    def user_report(self) -> Response:
        """POST /api/user-report."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "device", self._face.lookup_key)
        if is_chaff():
            return answer_chaff(session, body, _USER_REPORT, IssuingChaff)
        require_json()
        members = members_of(body, _USER_REPORT, RefusalCode.UNPARSABLE_REQUEST)
        self._desk.sender(session.get_one(Authority, caller.authority_id))
        report = OwnReport(
            caller.authority_id,
            caller.api_key_hash,
            phone=members["phone"],
            nonce=read_nonce(members["nonce"]),
            test_date=members["test_date"],
            onset_date=members["symptom_date"],
            language=members["sms_language"] or None,
        )
        expires_at = self._desk.take(session, report)
        return padded({"expiresAt": rfc1123(expires_at), "expiresAtTimestamp": expires_at})
