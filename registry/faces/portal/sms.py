"""A code that lies at hand, once more or first of all by SMS, without a new code; and on paper.

The number is typed again each time, for it is kept nowhere.
"""

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import force_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from wtforms import Field, StringField
from wtforms.validators import DataRequired

from registry.delivery.qr import qr_image
from registry.faces.pages.language import HTML_LANGUAGES, page_language
from registry.faces.portal.codes import find_own, in_zone, lies_at_hand, read_out
from registry.faces.portal.consent import CONSENT_LANGUAGES
from registry.faces.portal.forms import PortalForm
from registry.faces.portal.messages import check_label, check_number, send_code, sms_labels, sms_maker
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.at_hand import OwnCode
from registry.models.official import Permission
from registry.protocol.codes import group, link_of
from registry.protocol.sms_text import DEFAULT_LABEL

pages = Blueprint("sms", __name__, url_prefix="/portal/codes")
pages.before_request(require(Permission.ISSUE))


class SmsForm(PortalForm):
    """Where the code goes."""

    elements = {"phone": "phone", "sms_label": "sms_label-0"}  # noqa: RUF012
    phone = StringField(
        lazy("Telephone number"),
        filters=[lambda text: (text or "").strip()],
        validators=[DataRequired(lazy("Type the person’s telephone number."))],
    )
    sms_label = StringField(lazy("Text of the SMS"), default=DEFAULT_LABEL)

    def validate_phone(self, field: Field) -> None:
        """It must be a number that can be sent to."""
        check_number(field.data)

    def validate_sms_label(self, field: Field) -> None:
        """It must be a text of the authority's."""
        check_label(field.data)


@pages.get("/<uuid>/sms")
def ask(uuid: str) -> ResponseReturnValue:
    """The form."""
    code = find_own(uuid)
    if lies_at_hand(code) is None or sms_maker() is None:
        return redirect(url_for("codes.code", uuid=uuid), 303)
    return _form_page(code, SmsForm(formdata=None))


@pages.post("/<uuid>/sms")
def send(uuid: str) -> ResponseReturnValue:
    """Send it, and lead to the code's page, which says what became of it."""
    code, form = find_own(uuid), SmsForm()
    codes = lies_at_hand(code)
    if codes is None:
        return redirect(url_for("codes.code", uuid=uuid), 303)
    if not form.validate():
        return _form_page(code, form), 400
    send_code(
        code.uuid,
        codes,
        expires_at=code.expires_at,
        number=form.phone.data,
        label=form.sms_label.data,
        language=_language(code),
    )
    return redirect(url_for("codes.code", uuid=uuid), 303)


@pages.get("/<uuid>/sheet")
def sheet(uuid: str) -> ResponseReturnValue:
    """The code on paper, in the person's language; nothing on it names anybody."""
    code = find_own(uuid)
    codes = lies_at_hand(code)
    if codes is None:
        return redirect(url_for("codes.code", uuid=uuid), 303)
    language, link = _language(code), link_of(this_face().address, codes.link_code)
    hint, back = _("Print this page with your browser."), _("Back to the code")
    with force_locale(language):
        return render_template(
            "portal/sheet.html",
            uuid=uuid,
            hint=hint,
            back=back,
            language=HTML_LANGUAGES[language],
            groups=group(codes.code),
            said=read_out(codes.code, code, language),
            qr=qr_image(link),
            good_until=in_zone(code.expires_at, language),
        )


def _language(code: OwnCode) -> str:
    language = code.authorization.consent_language
    return language if language in CONSENT_LANGUAGES else page_language()


def _form_page(code: OwnCode, form: SmsForm) -> str:
    return render_template(
        "portal/sms.html",
        form=form,
        uuid=code.uuid,
        again=code.delivery is not None,
        labels={label: label for label in sms_labels()},
    )
