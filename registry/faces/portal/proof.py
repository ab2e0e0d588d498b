"""What proves who sits at the browser: a passkey's answer to a challenge that this browser was given.

The challenge lies in a signed cookie of five minutes, which says what it is for and for whose session; that
it is answered once, the database sees to. What a browser brings is one form field, so it can come along with
any other form.
"""

import secrets
from enum import StrEnum
from urllib.parse import urlsplit

from flask import Response, current_app, g, request
from itsdangerous import BadData, URLSafeSerializer

from registry.errors import ProofRefused
from registry.faces.portal.settings import this_face
from registry.lifecycle.passkeys import CHALLENGE_SECONDS, Answer, RelyingParty

FIELD = "passkey_answer"
ENROLMENT_FIELD = "new_passkey"
_LARGEST_ANSWER = 20_000


class Purpose(StrEnum):
    """What a challenge is for."""

    SIGN_IN = "sign-in"
    CONFIRM = "confirm"
    """That the holder of a session is still who sits there."""
    ENROL = "enrol"


def party() -> RelyingParty:
    """Who asks for passkeys. Raises ProofRefused where there can be none."""
    found = this_face().relying_party
    if found is None:
        raise ProofRefused("an address without a name has no passkeys")
    return found


def is_at_home() -> bool:
    """Whether the page is open at the one origin at which passkeys work."""
    found = this_face().relying_party
    # The host alone: whoever ends TLS in front of us may not say that it was there.
    return found is not None and request.host == urlsplit(found.origin).netloc


def new_challenge() -> bytes:
    """To be answered by this browser: 32 random bytes."""
    return secrets.token_bytes(32)


def hand_out(response: Response, purpose: Purpose, challenge: bytes) -> None:
    """Put the challenge where only this browser can bring it back from."""
    content = {
        "challenge": challenge.hex(),
        "purpose": purpose.value,
        "whose": _whose(),
        "until": int(this_face().clock()) + CHALLENGE_SECONDS,
    }
    response.set_cookie(
        _cookie(purpose),
        _serializer().dumps(content),
        max_age=CHALLENGE_SECONDS,
        path="/portal",
        httponly=True,
        secure=request.is_secure,
        samesite="Strict",
    )


def brought(purpose: Purpose) -> Answer:
    """What came with the form under way. Raises ProofRefused for nothing, and for another's or an old one."""
    credential = request.form.get(ENROLMENT_FIELD if purpose is Purpose.ENROL else FIELD, "")
    if not credential or len(credential) > _LARGEST_ANSWER:
        raise ProofRefused("no answer came")
    try:
        content = _serializer().loads(request.cookies.get(_cookie(purpose), ""))
    except BadData as error:
        raise ProofRefused("no challenge of ours came") from error
    if (content["purpose"], content["whose"]) != (purpose.value, _whose()):
        raise ProofRefused("the challenge was for something else")
    if content["until"] <= this_face().clock():
        raise ProofRefused("the challenge is too old")
    return Answer(credential, bytes.fromhex(content["challenge"]))


def _cookie(purpose: Purpose) -> str:
    # One for each, so that an enrolment can wait for a proof.
    return f"portal_challenge_{purpose.value}"


def _whose() -> str:
    """Tells the session from others, and nothing else."""
    official = g.get("official")
    return "" if official is None else official.secret[:8].hex()


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="passkey challenge")
