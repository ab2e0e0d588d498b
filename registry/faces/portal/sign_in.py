"""Officials' way in: by a one-time link, for a shift, and out again."""

from collections.abc import Callable

from flask import abort, g, render_template
from flask.typing import ResponseReturnValue

from registry.faces.database import db
from registry.faces.pages.sign_in import Entrance
from registry.faces.portal.settings import this_face
from registry.models.official import Permission, Role

ENTRANCE = Entrance(
    face="portal",
    role=Role.OFFICIAL,
    start="authorizations.statement",
    open_session=lambda: db.session(),
    clock=lambda: this_face().clock(),
)
pages = ENTRANCE.pages(__name__)


def require(*permissions: Permission) -> Callable[[], ResponseReturnValue | None]:
    """What goes before each request of a blueprint: puts who is signed in into `g.official`.

    Answers instead how to come in, or, for whoever has none of the permissions, that they may not do this.
    """

    def check() -> ResponseReturnValue | None:
        answer = signed_in_or_told()
        if answer is None and g.official.permissions.isdisjoint(permissions):
            abort(403)
        return answer

    return check


def signed_in_or_told() -> ResponseReturnValue | None:
    """Put who is signed in into `g.official`; the page that says how to come in, for anybody else."""
    g.official = ENTRANCE.signed_in()
    if g.official is None:
        return render_template("portal/signed_out.html", by_choice=False), 403
    return None


def demand(permission: Permission) -> None:
    """For a view of a blueprint that more may see: ends the request for whoever lacks the permission."""
    if permission not in g.official.permissions:
        abort(403)
