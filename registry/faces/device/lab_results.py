"""/api/fhir: a laboratory's own message about a positive result asks for a code.

Of the message only what `protocol.lab_result` reads is ever looked at; nothing of it is stored but the day.
"""

from email.utils import formatdate

from flask import Response, request

from registry.errors import Malformed, Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.api_keys import caller_of_kind
from registry.faces.device.calls import receive_body
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.authorize import Statement, authorize
from registry.models import transaction
from registry.protocol.encoding import decode_json_object
from registry.protocol.lab_result import LabResult, read_lab_result

CONTENT_TYPES = ("application/fhir+json", "application/json")
HANDLE = "X-Request-Id"
"""The header with the caller's own handle: FHIR's, for requests."""


class LabResultViews:
    """The endpoint for API keys of kind `admin`."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face

    def fhir(self) -> Response:
        """POST /api/fhir."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "admin", self._face.lookup_key)
        if request.mimetype not in CONTENT_TYPES:
            raise Refusal(
                RefusalCode.UNPARSABLE_REQUEST, f"the Content-Type must be {' or '.join(CONTENT_TYPES)}"
            )
        result = self._read(body)
        statement = Statement(
            report_type=_report_type(result),
            test_date=result.test_date,
            onset_date=None,
            api_key_hash=caller.api_key_hash,
            uuid=request.headers.get(HANDLE) or None,
        )
        with transaction(session):
            issued = authorize(
                session,
                statement,
                authority_id=caller.authority_id,
                lookup_key=self._face.lookup_key,
                policy=self._face.policy,
                now=self._face.clock(),
            )
        # A crash here loses the code, which only its hash is stored of: the caller asks with a new handle.
        expires = formatdate(issued.expires_at, usegmt=True).replace("GMT", "UTC")
        return padded(
            {
                "uuid": issued.uuid,
                "code": issued.code,
                "expiresAt": expires,
                "expiresAtTimestamp": issued.expires_at,
                "longExpiresAt": expires,
                "longExpiresAtTimestamp": issued.expires_at,
            }
        )

    def _read(self, body: bytes) -> LabResult:
        try:
            message = decode_json_object(body, "the body").as_dict()
        except Malformed as error:
            raise Refusal(RefusalCode.UNPARSABLE_REQUEST, str(error)) from error
        return read_lab_result(message, self._face.test_codes)


def _report_type(result: LabResult) -> str:
    """Refuses a negative result, unless the caller says that it is meant to take an earlier one back."""
    if result.is_positive:
        return "confirmed"
    if request.args.get("negative") != "true":
        raise Refusal(
            RefusalCode.UNSUPPORTED_TEST_TYPE,
            "a negative result leads to a code only if it is asked for: ?negative=true",
        )
    return "negative"
