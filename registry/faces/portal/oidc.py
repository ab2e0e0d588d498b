"""Coming in by the organisation's OpenID provider: to it, and back.

What the trip is known by lies in a signed cookie of its own, of ten minutes and for these addresses alone. It
is SameSite=Lax, for the way back comes from another site, where the session's Strict cookie is not sent: so
the answer is a page of ours, which leads on. The state counts once; the database sees to that.
"""

import secrets

import flask
from flask import Blueprint, Response, current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadData, URLSafeSerializer

from registry.errors import ProofRefused, Unavailable
from registry.faces.database import db
from registry.faces.portal.mistakes import log
from registry.faces.portal.openid import OpenIdProvider, Person, Request
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import ENTRANCE
from registry.lifecycle.identities import official_by_openid
from registry.lifecycle.passkeys import spend
from registry.models import PortalSession, transaction
from registry.models.official import Way, open_portal_session, refresh_portal_session, session_key

TRIP_SECONDS = 600
_COOKIE = "portal_oidc"
_PATH = "/portal/oidc"

pages = Blueprint("oidc", __name__, url_prefix=_PATH)


@pages.get("/start")
def start() -> ResponseReturnValue:
    """To the provider."""
    face = this_face()
    wanted = Request(*(secrets.token_urlsafe(32) for _ in range(3)))
    try:
        address = _provider().address(wanted, _back(), face.clock())
    except Unavailable as fault:
        log.error("OpenID: %s", fault)  # a reason of ours, without a trace
        return render_template("portal/oidc_refused.html", unavailable=True), 503
    response = make_response(redirect(address, 303))
    response.set_cookie(
        _COOKIE,
        _serializer().dumps(
            {
                "state": wanted.state,
                "nonce": wanted.nonce,
                "verifier": wanted.verifier,
                "until": int(face.clock()) + TRIP_SECONDS,
                # Not the session's token, but what it is kept under, which opens nothing.
                "session": session_key(ENTRANCE.token).hex() if ENTRANCE.token else "",
            }
        ),
        max_age=TRIP_SECONDS,
        path=_PATH,
        httponly=True,
        secure=request.is_secure,
        samesite="Lax",
    )
    return response


@pages.get("/back")
def back() -> ResponseReturnValue:
    """From the provider: a session for whom it vouches, or why not."""
    try:
        wanted, session_before = _trip()
        person = _provider().person(wanted, request.args.get("code", ""), _back(), this_face().clock())
        token = _come_in(wanted, person, session_before)
    except ProofRefused as refused:
        # The reason names checks and no person.
        log.warning("OpenID sign-in refused: %s", refused)
        return _told(render_template("portal/oidc_refused.html", unavailable=False), 403)
    except Unavailable as fault:
        log.error("OpenID: %s", fault)
        return _told(render_template("portal/oidc_refused.html", unavailable=True), 503)
    response = _told(render_template("portal/oidc_in.html", again=not token), 200)
    if not token:
        return response
    # Somebody else's forms, which may wait in another tab of this browser, are nobody's any more.
    flask.session.clear()
    flask.session.modified = True
    return ENTRANCE.give_cookie(response, token)


def _come_in(wanted: Request, person: Person, session_before: bytes | None) -> str:
    """Token of a fresh session; empty if one that this browser had already is good again.

    Raises ProofRefused.
    """
    face, provider = this_face(), _provider()
    now, token = face.clock(), ""
    with transaction(db.session()) as session:
        # A crash after this commit leaves a session that nobody holds: sign in again.
        spend(session, wanted.state.encode(), now, TRIP_SECONDS)
        official = official_by_openid(
            session,
            issuer=provider.policy.issuer,
            subject=person.subject,
            name=person.name,
            permissions=person.permissions,
            authority_id=face.authority_id,
            now=now,
        )
        if official is not None:
            known = session.get(PortalSession, session_before) if session_before else None
            if known is not None and known.official_id == official.id and known.expires_at > now:
                # Its forms stay good, which may wait in another tab.
                refresh_portal_session(session, known.token_hash, Way.OIDC, now, fresh=person.is_fresh)
            else:
                token = open_portal_session(session, official.id, Way.OIDC, now, fresh=person.is_fresh)
                ENTRANCE.record(session, token)
    if official is None:
        raise ProofRefused("the person is in no group that may come in")
    return token


def _trip() -> tuple[Request, bytes | None]:
    """What this browser was sent off with, if this is the answer to it. Raises ProofRefused."""
    try:
        known = _serializer().loads(request.cookies.get(_COOKIE, ""))
    except BadData as error:
        raise ProofRefused("no request of this browser's") from error
    if known["until"] <= this_face().clock():
        raise ProofRefused("the answer is too late")
    if not secrets.compare_digest(known["state"].encode(), request.args.get("state", "").encode()):
        raise ProofRefused("the state is another's")
    # RFC 9207: an answer that says whose it is must say ours.
    if request.args.get("iss", _provider().policy.issuer) != _provider().policy.issuer:
        raise ProofRefused("the answer is another provider's")
    if "error" in request.args or not request.args.get("code"):
        raise ProofRefused("the provider let nobody in")
    wanted = Request(known["state"], known["nonce"], known["verifier"])
    return wanted, bytes.fromhex(known["session"]) or None


def _told(page: str, status: int) -> Response:
    response = make_response(page, status)
    response.delete_cookie(_COOKIE, path=_PATH, httponly=True, samesite="Lax")
    return response


def _provider() -> OpenIdProvider:
    found = this_face().openid
    if found is None:
        raise RuntimeError("these pages are there only with a provider")
    return found


def _back() -> str:
    """The one address that the provider sends people back to, whatever Host the caller names."""
    return this_face().address + url_for("oidc.back")


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="openid request")
