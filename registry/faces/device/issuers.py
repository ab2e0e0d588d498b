"""/api/issue, batch-issue, checkcodestatus, expirecode: a laboratory's or hospital's system issues codes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Self
from uuid import UUID

from flask import Response, current_app
from marshmallow import Schema
from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded, say_when, status_of
from registry.faces.device.api_keys import Caller, caller_of_kind
from registry.faces.device.calls import checked, members_of, receive_body
from registry.faces.device.messages import deliver, wanted_sms
from registry.faces.device.phones import require_json
from registry.faces.device.schemas import BatchIssueRequest, CodeRequest, IssueRequest
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.authorize import Statement, authorize, code_status, expire_code
from registry.models import transaction

MOST_IN_A_BATCH = 10
"""Requests in one call (the field's figure)."""

_ISSUE: Schema = IssueRequest()
_BATCH: Schema = BatchIssueRequest()
_CODE: Schema = CodeRequest()
_MESSAGE_LENGTH = 120
"""Of what is said of each request in a batch: ten of them still fit into an answer of the one size."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one request of a batch was refused, as it stands beside the answers, and the status it means."""

    members: Mapping[str, object]
    status: HTTPStatus
    retry_at: int | None = None
    """From when on the same request may be granted, in unix seconds, where that is known."""

    @classmethod
    def of(cls, message: str, code: str, status: HTTPStatus, retry_at: int | None = None) -> Self:
        """In the contract's shape of errors."""
        members = {"error": message[:_MESSAGE_LENGTH], "errorCode": code, "error_code": code}
        return cls(members, status, retry_at)


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
        return padded(self._issue_one(session, caller, members))

    def batch_issue(self) -> Response:
        """POST /api/batch-issue: each request by itself, and the first failure's status for all."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "admin", self._face.lookup_key)
        require_json()
        asked = members_of(body, _BATCH, RefusalCode.UNPARSABLE_REQUEST)["codes"]
        if not 1 <= len(asked) <= MOST_IN_A_BATCH:
            raise BadRequest(f"'codes' must hold 1 to {MOST_IN_A_BATCH} requests")
        outcomes: list[Mapping[str, object] | Failure] = []
        fault: Failure | None = None
        for wanted in asked:
            # After a fault of ours nothing more is tried; what was issued before still reaches its caller.
            outcome = fault or self._try_one(session, caller, wanted)
            if isinstance(outcome, Failure) and outcome.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                fault = outcome
            outcomes.append(outcome)
        codes = [outcome.members if isinstance(outcome, Failure) else outcome for outcome in outcomes]
        first = next((outcome for outcome in outcomes if isinstance(outcome, Failure)), None)
        if first is None:
            return padded({"codes": codes})
        answer = padded({"codes": codes, **first.members}, first.status)
        if first.retry_at is not None:
            say_when(answer, formatdate(first.retry_at, usegmt=True))
        return answer

    def _try_one(self, session: Session, caller: Caller, wanted: object) -> Mapping[str, object] | Failure:
        """The answer to one request of a batch, or why there is none."""
        try:
            members = checked(wanted, _ISSUE, RefusalCode.UNPARSABLE_REQUEST)
            return self._issue_one(session, caller, members)
        except Refusal as refusal:
            status = status_of(refusal.code, "batch_issue")
            return Failure.of(str(refusal), refusal.code.value, status, refusal.retry_at)
        except BadRequest as error:
            return Failure.of(error.description or error.name, "", HTTPStatus.BAD_REQUEST)
        except Exception:  # the codes before this one are committed: without an answer they would be lost
            current_app.log_exception(sys.exc_info())
            code = RefusalCode.INTERNAL_ERROR
            return Failure.of("internal error", code.value, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _issue_one(self, session: Session, caller: Caller, members: Mapping[str, Any]) -> dict[str, object]:
        """Issue what one request asks for, in a transaction of its own; the members of its answer."""
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
        return {
            "uuid": issued.uuid,
            "code": issued.code,
            "expiresAt": expires,
            "longExpiresAt": expires,
            **_ends(issued.expires_at),
            **by_sms,
        }

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
