"""A code for somebody who tested negative after less than a test had led to a warning.

It was a clinician's diagnosis, or their own word. With the code their phone takes the warning
back. A confirmed result is beyond it: that takes a recall.
"""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from registry.faces.portal.authorizations import answer_to, common_parts, new_form, test_days
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
    return answer_to(new_form(CorrectionForm), _form_page)


def _form_page(form: CorrectionForm) -> str:
    return render_template(
        "portal/correction.html", form=form, test_days=test_days(form), **common_parts(form)
    )
