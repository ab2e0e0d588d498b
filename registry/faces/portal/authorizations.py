"""The form: one statement in, one code out, which has a page of its own (`codes`).

The same form sent twice makes one code and leads to its page again, which says so.
"""

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES
from registry.faces.portal.consent import CONSENT_LANGUAGES, current_texts
from registry.faces.portal.forms import CHANNELS, REPORT_TYPES, AuthorizationForm
from registry.faces.portal.messages import send_code, sms_labels, sms_maker
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.at_hand import keep_at_hand, own_code
from registry.lifecycle.authorize import IssuedCode, Statement, authorize, date_limits
from registry.models import transaction
from registry.models.official import Permission

pages = Blueprint("authorizations", __name__, url_prefix="/portal")
pages.before_request(require(Permission.ISSUE))


@pages.get("/")
def statement() -> ResponseReturnValue:
    """The empty form."""
    return _form_page(_form())


@pages.post("/")
def hand_over() -> ResponseReturnValue:
    """Record the statement and lead to its code, or show the form again with what to mend."""
    form = _form()
    if not form.validate():
        return _form_page(form), 400
    try:
        issued = _authorize(form)
    except Refusal as refusal:
        if refusal.code is not RefusalCode.UUID_ALREADY_EXISTS:
            raise
        # What was changed since is on no record: the page says so.
        return redirect(url_for("codes.code", uuid=_made_before(form.once.data, refusal), again=1), 303)
    if form.phone.data:
        # A crash before this leaves the code's page, from where it can be sent.
        send_code(
            issued.uuid,
            issued,
            expires_at=issued.expires_at,
            number=form.phone.data,
            label=form.sms_label.data,
            language=form.consent_language.data,
        )
    return redirect(url_for("codes.code", uuid=issued.uuid), 303)


def _authorize(form: AuthorizationForm) -> IssuedCode:
    """Issue the code, and lay it where this session can look at it."""
    face, session = this_face(), db.session()
    with transaction(session):
        # A crash after this commit leaves a code whose page is in the list of the official's own.
        issued = authorize(
            session,
            Statement(
                report_type=form.report_type.data,
                test_date=form.test_date.data,
                onset_date=form.onset_date.data,
                official_id=g.official.official_id,
                consent_version=form.consent_version.data,
                consent_language=form.consent_language.data,
                consent_channel=form.consent_channel.data,
                uuid=form.once.data,
            ),
            authority_id=g.official.authority_id,
            lookup_key=face.lookup_key,
            policy=face.policy,
            now=face.clock(),
        )
        keep_at_hand(session, issued, g.official.secret, face.clock())
    return issued


def _made_before(handle: str, refusal: Refusal) -> str:
    """The handle of the code that this very form made before; for somebody else's it stays refused."""
    try:
        found = own_code(
            db.session(),
            handle,
            official_id=g.official.official_id,
            authority_id=g.official.authority_id,
        )
    except Refusal:
        raise refusal from None
    return found.uuid


def _form() -> AuthorizationForm:
    face = this_face()
    return AuthorizationForm(date_limits(face.policy, face.clock()))


def _form_page(form: AuthorizationForm) -> str:
    return render_template(
        "portal/statement.html",
        form=form,
        report_types=REPORT_TYPES,
        channels=CHANNELS,
        may_send=sms_maker() is not None,
        sms_labels={label: label for label in sms_labels()},
        person_languages={language: LANGUAGES[language] for language in CONSENT_LANGUAGES},
        consent_texts=current_texts(),
    )
