"""Codes on paper: made and shown once on a page to print, and the way in by one of them.

Nobody is slowed or locked out for wrong ones: at 80 bits a code is not found by trying, and whoever locked
others out by trying would gain more. Each wrong try leaves a line in the log, of its hour.
"""

from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from registry.errors import OfficialsRefused
from registry.faces.database import db
from registry.faces.portal.mistakes import log
from registry.faces.portal.passkeys import sign_in_page
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import ENTRANCE, demand, proof_or_asked, signed_in_or_told
from registry.lifecycle.printed_codes import make_sheet, redeem_printed_code
from registry.models import Official, transaction
from registry.models.official import Permission, Way, open_portal_session

pages = Blueprint("printed", __name__, url_prefix="/portal")


@pages.post("/sign-in-by-code")
def come_in() -> ResponseReturnValue:
    """Use a code up and open a session that is good for handing over codes."""
    face, token = this_face(), None
    with transaction(db.session()) as session:
        # A crash after this commit leaves a used code and a session that nobody holds: the next code.
        found = redeem_printed_code(
            session, request.form.get("code", ""), lookup_key=face.lookup_key, now=face.clock()
        )
        if found is not None:
            token = open_portal_session(session, found, Way.PRINTED, face.clock())
            ENTRANCE.record(session, token)
    if token is None:
        log.warning("a printed code was refused")
        return sign_in_page(wrong_code=True), 403
    return ENTRANCE.welcome(token)


@pages.get("/sign-in-by-code")
def again() -> ResponseReturnValue:
    """Whoever loads the page of a refused code once more."""
    return redirect(url_for("passkeys.sign_in"), 303)


@pages.post("/printed-codes")
def own_sheet() -> ResponseReturnValue:
    """A sheet for oneself."""
    told = signed_in_or_told()
    if told is not None:
        return told
    if Permission.ISSUE not in g.official.permissions or g.official.way is Way.PRINTED:
        abort(403)
    return proof_or_asked() or _sheet(g.official.official_id)


@pages.post("/printed-codes/<official_id>")
def sheet_for(official_id: str) -> ResponseReturnValue:
    """A sheet for somebody, by who looks after officials."""
    told = signed_in_or_told()
    if told is not None:
        return told
    demand(Permission.OFFICIALS)
    return _sheet(official_id)


def _sheet(official_id: str) -> ResponseReturnValue:
    face = this_face()
    try:
        with transaction(db.session()) as session:
            # A crash after this commit leaves a sheet that nobody saw: another one.
            codes = make_sheet(
                session,
                official_id,
                by=g.official.official_id,
                authority_id=g.official.authority_id,
                lookup_key=face.lookup_key,
                now=face.clock(),
            )
            name = session.get_one(Official, official_id).name
    except OfficialsRefused:
        abort(403)
    grouped = [" ".join(code[place : place + 4] for place in range(0, len(code), 4)) for code in codes]
    return render_template("portal/printed_codes.html", codes=grouped, name=name)
