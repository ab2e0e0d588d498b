"""Passkeys: coming in by one, proving by one who sits there, and each official's own.

The browser's part is `static/passkey.js`: it asks for a challenge when its button is pressed, and sends what
the passkey says as a field of the form that the button belongs to.
"""

from flask import Blueprint, Response, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from webauthn.helpers import bytes_to_base64url

from registry.errors import LastPasskey, ProofRefused
from registry.faces.database import db
from registry.faces.portal.proof import FIELD, Purpose, brought, hand_out, is_at_home, new_challenge, party
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import (
    ENTRANCE,
    ask_page,
    proof_or_asked,
    proven,
    safe_path,
    signed_in_or_told,
)
from registry.lifecycle.identities import is_by_openid
from registry.lifecycle.passkeys import (
    LONGEST_LABEL,
    enrol,
    enrolment_options,
    has_passkey,
    passkeys_of,
    prove,
    remove_passkey,
    sign_in_options,
)
from registry.lifecycle.printed_codes import printed_codes_left
from registry.models import Official, transaction
from registry.models.official import Permission, Way, open_portal_session, refresh_portal_session, session_key

pages = Blueprint("passkeys", __name__, url_prefix="/portal")


@pages.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """A button, and what to do without a passkey."""
    return sign_in_page()


@pages.post("/sign-in")
def come_in() -> ResponseReturnValue:
    """Open a session for whoever answered."""
    try:
        answer, now, token = brought(Purpose.SIGN_IN), this_face().clock(), None
        with transaction(db.session()) as session:
            # A crash after this commit leaves a session that nobody holds: sign in again.
            official = prove(session, party(), answer, now)
            # Whom the provider knows comes in by it, so that it can say what they may do today.
            if official is not None and not (this_face().openid and is_by_openid(session, official.id)):
                token = open_portal_session(session, official.id, Way.PASSKEY, now, fresh=True)
                ENTRANCE.record(session, token)
    except ProofRefused:
        token = None
    if token is None:
        return sign_in_page(failed=True), 403
    return ENTRANCE.welcome(token)


@pages.get("/passkeys/options/<purpose>")
def options(purpose: str) -> ResponseReturnValue:
    """What the browser hands to the passkey, as JSON; the challenge goes into a cookie too."""
    wanted = {each.value: each for each in Purpose}.get(purpose)
    g.official = None if wanted is Purpose.SIGN_IN else ENTRANCE.signed_in()
    if wanted is None or (wanted is not Purpose.SIGN_IN and g.official is None):
        abort(404)
    challenge, session = new_challenge(), db.session()
    try:
        if wanted is Purpose.ENROL:
            found = session.get_one(Official, g.official.official_id)
            content = enrolment_options(session, party(), found, challenge, _registry_name())
        else:
            whose = None if g.official is None else g.official.official_id
            content = sign_in_options(session, party(), challenge, whose)
    except ProofRefused:
        abort(404)
    response = Response(content, mimetype="application/json")
    hand_out(response, wanted, challenge)
    return response


@pages.get("/confirm")
def confirm_again() -> ResponseReturnValue:
    """Whoever loads the page once more, which was the answer to a form."""
    return redirect(url_for("authorizations.statement"), 303)


@pages.post("/confirm")
def confirm() -> ResponseReturnValue:
    """Prove who sits there, and go back to the page that was wanted."""
    answer = signed_in_or_told(enrolling=True)
    if answer is None and request.form.get(FIELD) and not proven():
        answer = ask_page(locked=False)
    # Without a proof it leads back to what will ask for one.
    return answer or redirect(safe_path(request.form.get("back", "")), 303)


@pages.post("/awake")
def awake() -> ResponseReturnValue:
    """What an open page asks by itself: 204 if its session goes on, 423 if it is locked, 403 if it is over.

    It says whether somebody is at work on it, and brings the passkey's answer that unlocks.
    """
    g.official = ENTRANCE.signed_in(used="used" in request.form)
    if g.official is None:
        return "", 403
    return "", 423 if g.official.is_locked and not proven() else 204


@pages.get("/passkeys/")
def overview() -> ResponseReturnValue:
    """One's own passkeys."""
    return _owner_or_told() or _overview()


@pages.post("/passkeys/")
def added() -> ResponseReturnValue:
    """Keep a fresh one."""
    # By a link alone no older passkey is asked for: it may be lost, and the link is what is left.
    # The provider alone vouches for who has no passkey yet, and asks them each time.
    told = _owner_or_told() or (None if _may_begin() else proof_or_asked())
    if told is not None:
        return told
    label = request.form.get("label", "").strip()
    if not label or len(label) > LONGEST_LABEL or not label.isprintable():
        return _overview(_("Give it a name of %(most)s characters at most.", most=LONGEST_LABEL)), 400
    try:
        answer, now = brought(Purpose.ENROL), this_face().clock()
        with transaction(db.session()) as session:
            owner = session.get_one(Official, g.official.official_id)
            # Before the act, which comes last: whoever is being removed meanwhile waits for nobody who waits.
            refresh_portal_session(session, session_key(ENTRANCE.token), Way.PASSKEY, now)
            enrol(session, party(), owner, answer, label, now)
    except ProofRefused:
        return _overview(_("This did not make a passkey. Try again, or with another device.")), 400
    return redirect(url_for("passkeys.overview"), 303)


def _may_begin() -> bool:
    way = g.official.way
    return way is Way.LINK or (way is Way.OIDC and not has_passkey(db.session(), g.official.official_id))


@pages.post("/passkeys/remove")
def removed() -> ResponseReturnValue:
    """Forget one."""
    told = _owner_or_told() or proof_or_asked()
    if told is not None:
        return told
    face = this_face()
    try:
        with transaction(db.session()) as session:
            owner = session.get_one(Official, g.official.official_id)
            remove_passkey(
                session,
                owner,
                request.form.get("passkey", ""),
                face.clock(),
                keep_one=face.profile == "production",
            )
    except LastPasskey:
        return _overview(_("This is your only passkey: add another before you remove it.")), 409
    return redirect(url_for("passkeys.overview"), 303)


def _owner_or_told() -> ResponseReturnValue | None:
    told = signed_in_or_told(enrolling=True)
    if told is None and g.official.way is Way.PRINTED:
        abort(403)
    return told


def sign_in_page(*, failed: bool = False, wrong_code: bool = False) -> str:
    """All ways in."""
    g.official = None
    return render_template(
        "portal/passkey_sign_in.html",
        failed=failed,
        wrong_code=wrong_code,
        at_home=is_at_home(),
        home=this_face().relying_party,
        by_openid=this_face().openid is not None,
    )


def _overview(problem: str = "") -> str:
    face = this_face()
    must = face.profile == "production" and g.official.way is Way.LINK
    return render_template(
        "portal/passkeys.html",
        passkeys=[
            (bytes_to_base64url(each.credential_id), each.label, each.made_on.isoformat())
            for each in passkeys_of(db.session(), g.official.official_id)
        ],
        problem=problem,
        must=must,
        needed="needed" in request.args,
        at_home=is_at_home(),
        home=face.relying_party,
        longest_label=LONGEST_LABEL,
        may_print=Permission.ISSUE in g.official.permissions and not must,
        codes_left=printed_codes_left(db.session(), g.official.official_id, face.clock()),
        label=request.form.get("label", "") if problem else "",
    )


def _registry_name() -> str:
    return str(_("Portal for health officials"))
