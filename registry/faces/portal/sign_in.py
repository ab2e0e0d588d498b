"""Officials' way in: by a one-time link, for a shift, and out again."""

from flask import g, render_template
from flask.typing import ResponseReturnValue

from registry.faces.database import db
from registry.faces.pages.sign_in import Entrance
from registry.faces.portal.settings import this_face
from registry.models.official import Role

ENTRANCE = Entrance(
    face="portal",
    role=Role.OFFICIAL,
    start="authorizations.statement",
    open_session=lambda: db.session(),
    clock=lambda: this_face().clock(),
)
pages = ENTRANCE.pages(__name__)


def require_official() -> ResponseReturnValue | None:
    """Before a request: put who is signed in into `g.official`, or answer how to come in."""
    g.official = ENTRANCE.signed_in()
    if g.official is None:
        return render_template("portal/signed_out.html", by_choice=False), 403
    return None
