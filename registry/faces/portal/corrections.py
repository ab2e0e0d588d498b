"""A code for somebody who tested negative after less than a test had led to a warning.

It was a clinician's diagnosis, or their own word. With the code their phone takes the warning
back. A confirmed result is beyond it: that takes a recall.
"""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from registry.errors import Refusal, RefusalCode
from registry.faces.portal.authorizations import (
    common_parts,
    issue_code,
    lead_to_code_made_before,
    new_form,
    test_days,
)
from registry.faces.portal.forms import CorrectionForm
from registry.faces.portal.sign_in import demand, require
from registry.models.official import Permission

pages = Blueprint("corrections", __name__, url_prefix="/portal/recalls/negative")
pages.before_request(require(Permission.RECALL))


@pages.before_request
def _issuers_only() -> None:
    """Its code stands on a page of those who hand over codes."""
    demand(Permission.ISSUE)


@pages.get("/")
def statement() -> ResponseReturnValue:
    """The empty form."""
    return _form_page(new_form(CorrectionForm))


@pages.post("/")
def hand_over() -> ResponseReturnValue:
    """Record the statement and lead to its code, or show the form again with what to mend."""
    form = new_form(CorrectionForm)
    if not form.validate():
        return _form_page(form), 400
    try:
        issued = issue_code(form)
    except Refusal as refusal:
        if refusal.code is RefusalCode.QUOTA_EXCEEDED:
            return _form_page(form), 429
        if refusal.code is not RefusalCode.UUID_ALREADY_EXISTS:
            raise
        return lead_to_code_made_before(form, refusal)
    return redirect(url_for("codes.code", uuid=issued.uuid), 303)


def _form_page(form: CorrectionForm) -> str:
    return render_template(
        "portal/correction.html", form=form, test_days=test_days(form), **common_parts(form)
    )
