"""/api/issue, /api/checkcodestatus, /api/expirecode: a laboratory's or hospital's system hands out codes."""

from email.utils import formatdate
from uuid import UUID

from flask import Response
from marshmallow import Schema
from werkzeug.exceptions import BadRequest

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.api_keys import caller_of_kind
from registry.faces.device.calls import members_of, receive_body
from registry.faces.device.messages import deliver, wanted_sms
from registry.faces.device.phones import require_json
from registry.faces.device.schemas import CodeRequest, IssueRequest
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.authorize import Statement, authorize, code_status, expire_code
from registry.models import transaction

_ISSUE: Schema = IssueRequest()
_CODE: Schema = CodeRequest()


class IssuerViews:
    """The endpoints for API keys of kind `admin`."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face

    def issue(self) -> Response:
        """POST /api/issue."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "admin", self._face.lookup_key)
        require_json()
        members = members_of(body, _ISSUE, RefusalCode.UNPARSABLE_REQUEST)
        wanted = wanted_sms(self._face, session, caller.authority_id, members)
        statement = Statement(
            report_type=members["test_type"].lower(),
            test_date=members["test_date"],
            onset_date=members["symptom_date"],
            api_key_hash=caller.api_key_hash,
            external_issuer_id=members["external_issuer_id"] or None,
            uuid=members["uuid"] or None,
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
        # A crash here loses the code, which only its hash is stored of: the caller asks with a new uuid.
        by_sms = {} if wanted is None else deliver(self._face, session, wanted, issued)
        expires = rfc1123(issued.expires_at)
        return padded(
            {
                "uuid": issued.uuid,
                "code": issued.code,
                "expiresAt": expires,
                "longExpiresAt": expires,
                **_ends(issued.expires_at),
                **by_sms,
            }
        )

    def check_code_status(self) -> Response:
        """POST /api/checkcodestatus."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "admin", self._face.lookup_key)
        require_json()
        members = members_of(body, _CODE, RefusalCode.UNPARSABLE_REQUEST)
        with transaction(session):
            status = code_status(
                session,
                members["uuid"],
                authority_id=caller.authority_id,
                api_key_hash=caller.api_key_hash,
            )
        return padded({"claimed": status.claimed, **_ends(status.expires_at)})

    def expire_code(self) -> Response:
        """POST /api/expirecode."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "admin", self._face.lookup_key)
        require_json()
        members = members_of(body, _CODE, RefusalCode.UNPARSABLE_REQUEST)
        try:
            with transaction(session):
                ended = expire_code(
                    session,
                    members["uuid"],
                    authority_id=caller.authority_id,
                    api_key_hash=caller.api_key_hash,
                    now=self._face.clock(),
                )
        except Refusal as refusal:
            if refusal.code == RefusalCode.BAD_REQUEST:  # claimed: the contract has no code for it
                raise BadRequest("bad request") from refusal
            raise
        return padded({"uuid": str(UUID(members["uuid"])), **_ends(ended)})


def _ends(expires_at: int) -> dict[str, int]:
    """The long code, which stands in links alone and never in an answer, ends with the short one."""
    return {"expiresAtTimestamp": expires_at, "longExpiresAtTimestamp": expires_at}


def rfc1123(unix_seconds: int) -> str:
    """`Mon, 15 Jun 2026 12:00:00 UTC`: the zone is spelled as existing servers spell it."""
    return formatdate(unix_seconds, usegmt=True).replace("GMT", "UTC")
