"""The texts in which an authority's codes go out by SMS: to see, to try, to change, to drop."""

from collections.abc import Mapping

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from wtforms import Field, HiddenField, StringField, TextAreaField
from wtforms.validators import AnyOf, Regexp, ValidationError

from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES
from registry.faces.portal.consent import CONSENT_LANGUAGES
from registry.faces.portal.forms import PortalForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.sms_texts import SmsText, drop_text, keep_text, sms_texts
from registry.models import transaction
from registry.models.official import Permission
from registry.protocol.sms_text import (
    DEFAULT_LABEL,
    LABEL,
    LONGEST_TEMPLATE,
    LONGEST_TEXT,
    PLACEHOLDERS,
    SmsValues,
    TextFault,
    faults_of,
    fill,
    sample_values,
    segments_of,
)

FAULTS = {
    TextFault.EMPTY: lazy("Write the text."),
    TextFault.TOO_LONG: lazy(
        "The text is too long: %(most)s characters are the most.", most=LONGEST_TEMPLATE
    ),
    TextFault.NO_WAY_IN: lazy("The text leads nowhere: put in [link] or [code], better both."),
    TextFault.TWICE: lazy("Each of [code], [longcode] and [link] may stand there once."),
    TextFault.UNKNOWN: lazy("There is a placeholder that does not exist: use those in the list."),
    TextFault.TOO_LONG_WHEN_FILLED: lazy(
        "With code and link put in, the text is too long: %(most)s characters are the most.",
        most=LONGEST_TEXT,
    ),
    TextFault.NO_TEXT: lazy("The text holds characters that cannot be sent."),
}
MEANINGS: Mapping[str, object] = {
    "region": lazy("code of the region"),
    "code": lazy("the code to type"),
    "link": lazy("the link that opens the app"),
    "longcode": lazy("the code of the link alone"),
    "expires": lazy("minutes that the code is good"),
    "longexpires": lazy("hours that the code is good"),
}

pages = Blueprint("sms_texts", __name__, url_prefix="/portal/settings/texts")
pages.before_request(require(Permission.SETTINGS))


class SmsTextForm(PortalForm):
    """A text, its label and its language."""

    elements = {"label": "label", "language": "language-0", "text": "text"}  # noqa: RUF012
    label = StringField(
        lazy("Label"),
        filters=[lambda label: (label or "").strip()],
        validators=[
            Regexp(LABEL.pattern + r"\Z", message=lazy("Use 1 to 40 Latin letters, digits, . - and _."))
        ],
    )
    language = StringField(
        lazy("Language of the text"),
        validators=[AnyOf(CONSENT_LANGUAGES, lazy("Choose the language of the text."))],
    )
    text = TextAreaField(lazy("Text"), filters=[lambda text: (text or "").replace("\r\n", "\n").strip()])
    try_it = HiddenField()

    def validate_text(self, field: Field) -> None:
        """It must be possible to send it; the first fault is told."""
        for fault in faults_of(field.data, _sample()):
            raise ValidationError(FAULTS[fault])


@pages.get("/")
def overview() -> ResponseReturnValue:
    """All texts, as people get them."""
    texts = [_shown(text) for text in sms_texts(db.session(), g.official.authority_id)]
    return render_template("portal/sms_texts.html", texts=texts, languages_by_code=LANGUAGES)


@pages.get("/text")
def change() -> ResponseReturnValue:
    """The form: for the text that is asked for, or for a new one."""
    form = SmsTextForm(formdata=None)
    form.label.data, form.language.data = request.args.get("label", ""), request.args.get("language", "")
    for text in sms_texts(db.session(), g.official.authority_id):
        if (text.label, text.language) == (form.label.data, form.language.data):
            form.text.data = text.template
    return _form_page(form)


@pages.post("/text")
def changed() -> ResponseReturnValue:
    """Keep it, or show how it would look."""
    form, face, session = SmsTextForm(), this_face(), db.session()
    if not form.validate():
        return _form_page(form), 400
    text = SmsText(form.label.data, form.language.data, form.text.data, is_own=True)
    if form.try_it.data:
        return _form_page(form, _shown(text))
    with transaction(session):
        # A crash after this commit leaves the text, as the list shows.
        keep_text(
            session,
            text,
            authority_id=g.official.authority_id,
            official_id=g.official.official_id,
            sample=_sample(),
            now=face.clock(),
        )
    return redirect(url_for("sms_texts.overview"), 303)


@pages.post("/drop")
def drop() -> ResponseReturnValue:
    """Drop one of the authority's own."""
    session = db.session()
    with transaction(session):
        # A crash after this commit leaves the text dropped, as the list shows.
        drop_text(
            session,
            request.form.get("label", ""),
            request.form.get("language", ""),
            authority_id=g.official.authority_id,
            official_id=g.official.official_id,
            now=this_face().clock(),
        )
    return redirect(url_for("sms_texts.overview"), 303)


def _form_page(form: SmsTextForm, shown: Mapping[str, object] | None = None) -> str:
    return render_template(
        "portal/sms_text.html",
        form=form,
        shown=shown,
        text_languages={language: LANGUAGES[language] for language in CONSENT_LANGUAGES},
        placeholders={name: MEANINGS[name] for name in PLACEHOLDERS},
        most=LONGEST_TEMPLATE,
    )


def _shown(text: SmsText) -> Mapping[str, object]:
    """A text with what a person would read, and what it takes to send it."""
    filled = fill(text.template, _sample())
    segments = segments_of(filled)
    return {
        "label": text.label,
        "language": text.language,
        "is_own": text.is_own,
        "replaces": text.label == DEFAULT_LABEL,
        "filled": filled,
        "takes": _("%(count)s SMS (%(alphabet)s)", count=segments.count, alphabet=segments.alphabet),
    }


def _sample() -> SmsValues:
    face = this_face()
    return sample_values(face.region, face.address, face.policy.code_life_seconds)
