"""Taking back what was shared, by the code of a letter: as easy as giving, and without asking anybody.

The form carries no token against forgery: whoever can send it for somebody has their letter's code.
"""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.person.settings import this_face
from registry.lifecycle.letters import withdraw_by_letter
from registry.models import transaction
from registry.protocol.codes import is_link_code, normalise

pages = Blueprint("withdrawals", __name__, url_prefix="/withdraw")


@pages.get("/")
def form() -> str:
    """What taking back does, and the form for it."""
    return _form_page("")


@pages.post("/")
def withdraw() -> ResponseReturnValue:
    """Do it, or show the form again with what to mend. The code is not shown again."""
    typed = request.form.get("code", "")
    if request.form.get("sure") != "y":
        return _form_page(_("Tick the box if you want to take it back."), "sure"), 400
    if not is_link_code(normalise(typed)):
        return _form_page(_("The code has 26 letters and digits: compare it with your letter.")), 400
    face, session = this_face(), db.session()
    try:
        with transaction(session):
            # A crash after this commit leaves it done, and a letter that says so by being used up.
            withdraw_by_letter(session, typed, lookup_key=face.lookup_key, now=face.clock())
    except Refusal as refusal:
        if refusal.code is not RefusalCode.CODE_INVALID:
            raise
        unknown = _("No letter has this code any more: it was used, or is too old, or is mistyped.")
        return _form_page(unknown), 400
    return render_template("person/withdrawn.html")


def _form_page(problem: str, element: str = "code") -> str:
    return render_template("person/withdraw.html", problem=problem, element=element)
