"""Coming in by a one-time link, staying for a shift, and leaving.

Opening a link burns nothing, because mail scanners open links: its button does. The session lives in the
database and is looked up on every request, so an official who was disabled is out at once.
"""

from dataclasses import dataclass

import flask
from flask import Blueprint, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from registry.faces.database import db
from registry.faces.portal.settings import this_face
from registry.lifecycle.activity import actor_of, record_act
from registry.models import transaction
from registry.models.official import (
    SESSION_LIFE_SECONDS,
    end_session,
    official_of_session,
    redeem_sign_in_link,
)
from registry.protocol.activity import ActKind

SESSION_COOKIE = "portal_session"

pages = Blueprint("sign_in", __name__, url_prefix="/portal")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is signed in, for the length of a request."""

    official_id: str
    name: str


def require_official() -> ResponseReturnValue | None:
    """Before a request: put who is signed in into `g.official`, or answer how to come in."""
    g.official = _signed_in()
    if g.official is None:
        return render_template("portal/signed_out.html", by_choice=False), 403
    return None


@pages.get("/sign-in/<token>")
def offer(token: str) -> ResponseReturnValue:
    """A page with one button. Reads and writes nothing."""
    return render_template("portal/sign_in.html", token=token)


@pages.post("/sign-in/<token>")
def come_in(token: str) -> ResponseReturnValue:
    """Burn the link and open a session."""
    session, now = db.session(), this_face().clock()
    with transaction(session):
        # A crash after this commit leaves a burnt link and a session that nobody holds: a new link mends it.
        session_token = redeem_sign_in_link(session, token, now)
        if session_token is not None:
            _record_sign_in(session, session_token, now)
    if session_token is None:
        if _signed_in() is not None:
            # The button was pressed twice.
            return redirect(url_for("authorizations.statement"), 303)
        return render_template("portal/link_spent.html"), 410
    flask.session.clear()
    response = redirect(url_for("authorizations.statement"), 303)
    response.set_cookie(
        SESSION_COOKIE,
        session_token,
        max_age=SESSION_LIFE_SECONDS,
        path="/portal",
        httponly=True,
        secure=request.is_secure,
        samesite="Strict",
    )
    return response


@pages.post("/sign-out")
def leave() -> ResponseReturnValue:
    """Forget the session, on both ends."""
    session = db.session()
    with transaction(session):
        end_session(session, request.cookies.get(SESSION_COOKIE, ""))
    flask.session.clear()
    response = make_response(redirect(url_for("sign_in.left"), 303))
    response.delete_cookie(SESSION_COOKIE, path="/portal", httponly=True, samesite="Strict")
    return response


@pages.get("/signed-out")
def left() -> ResponseReturnValue:
    """Says that it is done."""
    return render_template("portal/signed_out.html", by_choice=True)


def _record_sign_in(session: Session, session_token: str, now: float) -> None:
    official = official_of_session(session, session_token, now)
    if official is None:
        raise RuntimeError("a session that was opened a moment ago is gone")
    actor = actor_of(official_id=official.id, api_key_hash=None, authority_id=official.authority_id)
    record_act(session, chain=official.authority_id, kind=ActKind.SIGN_IN, actor=actor, detail={}, now=now)


def _signed_in() -> SignedIn | None:
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        return None
    official = official_of_session(db.session(), token, this_face().clock())
    return SignedIn(official.id, official.name) if official else None
