"""The other way round: the person's phone has made a code and shows it, an official makes it good.

Nobody has to write anything down, and the code is good for half an hour, while the phone waits for it.
"""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from registry.errors import Refusal, RefusalCode
from registry.faces.portal.authorizations import answer_to, common_parts, new_form, test_days
from registry.faces.portal.forms import REPORT_TYPES, ActivationForm
from registry.faces.portal.sign_in import require
from registry.models.official import Permission

pages = Blueprint("activations", __name__, url_prefix="/portal/activate")
pages.before_request(require(Permission.ISSUE))


@pages.get("/")
def statement() -> ResponseReturnValue:
    """The empty form."""
    return _form_page(new_form(ActivationForm))


@pages.post("/")
def activate() -> ResponseReturnValue:
    """Record the statement and lead to the code's page, or show the form again with what to mend."""
    form = new_form(ActivationForm)
    try:
        return answer_to(form, _form_page, phone_code=form.phone_code.data)
    except Refusal as refusal:
        if refusal.code is not RefusalCode.CODE_INVALID:
            raise
    form.phone_code.errors = [_("This code was used before: let the phone make a new one.")]
    return _form_page(form), 409


def _form_page(form: ActivationForm) -> str:
    return render_template(
        "portal/activate.html",
        form=form,
        report_types=REPORT_TYPES,
        test_days=test_days(form),
        **common_parts(form),
    )
