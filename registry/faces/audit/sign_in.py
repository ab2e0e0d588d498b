"""Auditors' way to the receipts: in by a one-time link, for a shift, and out again.

Opening a link burns nothing, because mail scanners open links: its button does. The session lives in the
database and is looked up on every request. A link of an official opens nothing here, nor an auditor's the
portal.
"""

import hmac
from dataclasses import dataclass

import flask
from flask import Blueprint, Flask, abort, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from sqlalchemy.orm import Session

from registry.faces.audit.record import now
from registry.faces.audit.settings import ReceiptsAccess, this_face
from registry.lifecycle.activity import actor_of, record_act
from registry.models import transaction
from registry.models.official import (
    SESSION_LIFE_SECONDS,
    Role,
    end_session,
    official_of_session,
    redeem_sign_in_link,
)
from registry.protocol.activity import ActKind

SESSION_COOKIE = "audit_session"

pages = Blueprint("sign_in", __name__, url_prefix="/audit")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who is signed in, for the length of a request."""

    auditor_id: str
    name: str


def guard_forms(app: Flask, access: ReceiptsAccess | None) -> None:
    """Refuse forged forms on `app`. Without access to receipts there is no form, and no secret is needed."""
    if access is None:
        return
    # Another secret than the portal's: what one face signs, the other takes for nothing.
    app.secret_key = hmac.digest(access.form_secret, b"auditors' forms", "sha256")
    app.config.update(WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)
    CSRFProtect(app)


def access_to_receipts() -> ReceiptsAccess:
    """The look into the databases; a 404 where this face has none."""
    access = this_face().receipts
    if access is None:
        abort(404)
    return access


def require_auditor() -> ResponseReturnValue | None:
    """Before a request: put who is signed in into `g.auditor`, or answer how to come in."""
    g.auditor = None
    if this_face().receipts is None:
        return render_template("audit/no_receipts.html")
    g.auditor = _signed_in()
    if g.auditor is None:
        return render_template("audit/signed_out.html", by_choice=False), 403
    return None


@pages.get("/sign-in/<token>")
def offer(token: str) -> ResponseReturnValue:
    """A page with one button. Reads and writes nothing."""
    access_to_receipts()
    return render_template("audit/sign_in.html", token=token)


@pages.post("/sign-in/<token>")
def come_in(token: str) -> ResponseReturnValue:
    """Burn the link and open a session."""
    with access_to_receipts().issuing() as session, transaction(session):
        # A crash after this commit leaves a burnt link and a session that nobody holds: a new link mends it.
        session_token = redeem_sign_in_link(session, token, now(), Role.AUDITOR)
        if session_token is not None:
            _record(session, session_token)
    if session_token is None:
        if _signed_in() is not None:
            # The button was pressed twice.
            return redirect(url_for("receipts.receipts"), 303)
        return render_template("audit/link_spent.html"), 410
    flask.session.clear()
    response = redirect(url_for("receipts.receipts"), 303)
    response.set_cookie(
        SESSION_COOKIE,
        session_token,
        max_age=SESSION_LIFE_SECONDS,
        path="/audit",
        httponly=True,
        secure=request.is_secure,
        samesite="Strict",
    )
    return response


@pages.post("/sign-out")
def leave() -> ResponseReturnValue:
    """Forget the session, on both ends."""
    with access_to_receipts().issuing() as session, transaction(session):
        end_session(session, request.cookies.get(SESSION_COOKIE, ""))
    flask.session.clear()
    response = make_response(redirect(url_for("sign_in.left"), 303))
    response.delete_cookie(SESSION_COOKIE, path="/audit", httponly=True, samesite="Strict")
    return response


@pages.get("/signed-out")
def left() -> ResponseReturnValue:
    """Says that it is done."""
    return render_template("audit/signed_out.html", by_choice=True)


def _record(session: Session, session_token: str) -> None:
    auditor = official_of_session(session, session_token, now(), Role.AUDITOR)
    if auditor is None:
        raise RuntimeError("a session that was opened a moment ago is gone")
    actor = actor_of(official_id=auditor.id, api_key_hash=None, authority_id=auditor.authority_id)
    record_act(session, chain=auditor.authority_id, kind=ActKind.SIGN_IN, actor=actor, detail={}, now=now())


def _signed_in() -> SignedIn | None:
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        return None
    with access_to_receipts().issuing() as session:
        auditor = official_of_session(session, token, now(), Role.AUDITOR)
        return SignedIn(auditor.id, auditor.name) if auditor else None
