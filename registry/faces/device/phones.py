"""/api/verify and /api/certificate: a phone turns the code it was given into a certificate for its keys."""

import math
from datetime import UTC, datetime
from typing import Any

from flask import Response, request
from marshmallow import Schema
from sqlalchemy.orm import Session
from werkzeug.exceptions import TooManyRequests

from registry.errors import Malformed, Refusal, RefusalCode, Unavailable
from registry.faces.database import db
from registry.faces.device.addresses import calling_network
from registry.faces.device.answers import padded
from registry.faces.device.api_keys import caller_of_kind
from registry.faces.device.calls import answer_chaff, is_chaff, is_json, members_of, receive_body
from registry.faces.device.guesses import Guesses, TooManyGuesses
from registry.faces.device.schemas import CertificateRequest, VerifyRequest
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.certify import VerifiedCode, certify, repeated_verification, verify_code
from registry.lifecycle.consent import ConsentEvidence
from registry.lifecycle.guessing import can_be_guessed, keep_wrong_codes
from registry.models import Authority, IssuingChaff, transaction
from registry.protocol.encoding import decode_base64

ACCEPTED_TYPES = {
    "confirmed": frozenset({"confirmed"}),
    "likely": frozenset({"confirmed", "likely"}),
    "negative": frozenset({"confirmed", "likely", "negative"}),
    "user-report": frozenset({"confirmed", "user-report"}),
}
"""What an app that names a type accepts besides; an app that names none accepts them all."""

SHORT_CODES_READ_EVERY_SECONDS = 60

_VERIFY: Schema = VerifyRequest()
_CERTIFICATE: Schema = CertificateRequest()


class PhoneViews:
    """The two endpoints of phones. Each reads, checks the API key, and does one lifecycle step."""

    def __init__(self, face: IssuingFace) -> None:
        self._face = face
        self._guesses = Guesses(face.guess_budget, face.clock, room=face.guess_room)
        self._short_codes: dict[str, tuple[float, bool]] = {}

    def verify(self) -> Response:
        """POST /api/verify."""
        session, body = db.session(), receive_body(RefusalCode.UNPARSABLE_REQUEST)
        caller = caller_of_kind(session, "device", self._face.lookup_key)
        if is_chaff():
            return answer_chaff(session, body, _VERIFY, IssuingChaff)
        require_json()
        members = members_of(body, _VERIFY, RefusalCode.UNPARSABLE_REQUEST)
        accept, padding = _accepted(members["accept"]), _bytes_of(members["padding"])
        self._keep_counts(session)
        has_short = self._has_short_codes(session, caller.authority_id)
        session.rollback()  # gives the connection back: who waits for others' tries must not hold one
        try:
            with (
                self._guesses.looked_at(
                    members["code"],
                    authority_id=caller.authority_id,
                    network=calling_network(request.environ, self._face.trusted_proxies),
                    can_be_guessed=has_short,
                ),
                transaction(session),
            ):
                verified = verify_code(
                    session,
                    body=body,
                    code=members["code"],
                    padding=padding,
                    accept=accept,
                    nonce=_bytes_of(members["nonce"]),
                    authority_id=caller.authority_id,
                    lookup_key=self._face.lookup_key,
                    token_signer=self._face.token_signer,
                    recall_public_key=self._face.recall_public_key,
                    policy=self._face.policy,
                    now=self._face.clock(),
                )
        except TooManyGuesses as refused:
            verified = self._answered_before(session, caller.authority_id, body, padding, refused)
        # A crash here loses the reply, not the code: the same body gets the same answer.
        answer: dict[str, Any] = {"testtype": verified.report_type, "token": verified.token}
        if verified.onset_date is not None:
            answer["symptomDate"] = verified.onset_date.isoformat()
        if verified.test_date is not None:
            answer["testDate"] = verified.test_date.isoformat()
        return padded(answer)

    def _keep_counts(self, session: Session) -> None:
        """Write down what was counted in hours that have ended; a crash before the commit loses it."""
        for counted in self._guesses.ended():
            with transaction(session):
                keep_wrong_codes(session, counted)

    def _has_short_codes(self, session: Session, authority_id: str) -> bool:
        """Whether codes of eight digits can be used here; looked up once a minute."""
        now = self._face.clock()
        asked_at, known = self._short_codes.get(authority_id, (-math.inf, True))
        if not 0 <= now - asked_at < SHORT_CODES_READ_EVERY_SECONDS:
            known = can_be_guessed(session, authority_id, now)
            self._short_codes[authority_id] = (now, known)
        return known

    def _answered_before(
        self, session: Session, authority_id: str, body: bytes, padding: bytes, refused: TooManyGuesses
    ) -> VerifiedCode:
        """A lost answer again, wherever it is asked for now. Raises TooManyRequests if there was none."""
        found = repeated_verification(
            session, body=body, padding=padding, authority_id=authority_id, now=self._face.clock()
        )
        if found is None:
            # Not `code_invalid`: a person with a right code would throw it away, and it is still good. Apps
            # say of 429 that the call may be made again later; inside the encryption nobody else sees it.
            raise TooManyRequests(
                "too many wrong codes came from this network: try again later, or use the code's link",
                retry_after=datetime.fromtimestamp(refused.again_at, UTC),
            )
        return found

    def certificate(self) -> Response:
        """POST /api/certificate."""
        # A body that cannot be read holds no valid token: the code that existing servers answer with.
        session, body = db.session(), receive_body(RefusalCode.TOKEN_INVALID)
        caller = caller_of_kind(session, "device", self._face.lookup_key)
        if is_chaff():
            return answer_chaff(session, body, _CERTIFICATE, IssuingChaff)
        require_json()
        members = members_of(body, _CERTIFICATE, RefusalCode.TOKEN_INVALID)
        signer = self._face.certificate_signers.get(caller.authority_id)
        if signer is None:
            raise Unavailable("no certificate signing key for the authority")
        with transaction(session):
            certificate = certify(
                session,
                token=members["token"],
                ekeyhmac_text=members["ekeyhmac"],
                consent=ConsentEvidence(members["consent_hash"], members["consent_version"]),
                authority=session.get_one(Authority, caller.authority_id),
                token_public_keys=self._face.token_public_keys,
                certificate_signer=signer,
                policy=self._face.policy,
                now=self._face.clock(),
            )
        # A crash here loses the reply, not the token: the same token and HMAC get the same answer.
        return padded({"certificate": certificate})


def require_json() -> None:
    """Refuses with `unparsable_request` a body of another content type."""
    if not is_json():
        raise Refusal(RefusalCode.UNPARSABLE_REQUEST, "the Content-Type must be application/json")


def _accepted(types: list[str]) -> frozenset[str]:
    asked = [ACCEPTED_TYPES.get(name.lower()) for name in types] or list(ACCEPTED_TYPES.values())
    accepted: frozenset[str] = frozenset()
    for implied in asked:
        if implied is None:
            raise Refusal(
                RefusalCode.INVALID_TEST_TYPE, "'accept' may hold confirmed, likely, negative, user-report"
            )
        accepted |= implied
    return accepted


def _bytes_of(text: str) -> bytes:
    """The bytes; none if it is not base64, which padding need not be, and a nonce is not then."""
    try:
        return decode_base64(text)
    except Malformed:
        return b""
