"""Auditors' way to the receipts: in by a one-time link, for a shift, and out again."""

import hmac

from flask import Flask, abort, g, render_template
from flask.typing import ResponseReturnValue

from registry.faces.audit.record import now
from registry.faces.audit.settings import ReceiptsAccess, this_face
from registry.faces.pages import guard_forms
from registry.faces.pages.sign_in import Entrance
from registry.models.official import Role


def access_to_receipts() -> ReceiptsAccess:
    """The look into the databases; a 404 where this face has none."""
    access = this_face().receipts
    if access is None:
        abort(404)
    return access


ENTRANCE = Entrance(
    face="audit",
    role=Role.AUDITOR,
    start="receipts.receipts",
    open_session=lambda: access_to_receipts().issuing(),
    clock=now,
)
pages = ENTRANCE.pages(__name__)


@pages.before_request
def _only_with_receipts() -> None:
    access_to_receipts()


def guard_sign_in(app: Flask, access: ReceiptsAccess | None) -> None:
    """Refuse forged forms on `app`. Without access to receipts there is no form, and no secret."""
    if access is not None:
        # Another secret than the portal's: what one face signs, the other takes for nothing.
        guard_forms(app, hmac.digest(access.form_secret, b"auditors' forms", "sha256"))


def require_auditor() -> ResponseReturnValue | None:
    """Before a request: put who is signed in into `g.auditor`, or answer how to come in."""
    g.auditor = None
    if this_face().receipts is None:
        return render_template("audit/no_receipts.html")
    g.auditor = ENTRANCE.signed_in()
    if g.auditor is None:
        return render_template("audit/signed_out.html", by_choice=False), 403
    return None
