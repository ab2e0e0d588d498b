"""The form: one statement in, one code out, which has a page of its own (`codes`).

The same form sent twice makes one code and leads to its page again, which says so.
"""

from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES
from registry.faces.portal.consent import CONSENT_LANGUAGES, current_texts
from registry.faces.portal.forms import CHANNELS, REPORT_TYPES, AuthorizationForm
from registry.faces.portal.sections import sections_for
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import signed_in_or_told
from registry.lifecycle.at_hand import keep_at_hand, own_code
from registry.lifecycle.authorize import Statement, authorize, date_limits
from registry.models import transaction
from registry.models.official import Permission

pages = Blueprint("authorizations", __name__, url_prefix="/portal")


@pages.before_request
def _issuers_only() -> ResponseReturnValue | None:
    """The portal's start is this form for whoever may hand over codes; others it leads to what they may."""
    answer = signed_in_or_told()
    if answer is not None or Permission.ISSUE in g.official.permissions:
        return answer
    sections = sections_for(g.official.permissions)
    if request.method != "GET" or not sections:
        abort(403)
    return redirect(url_for(sections[0].endpoint), 303)


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
        uuid = _authorize(form)
    except Refusal as refusal:
        if refusal.code is not RefusalCode.UUID_ALREADY_EXISTS:
            raise
        # What was changed since is on no record: the page says so.
        return redirect(url_for("codes.code", uuid=_made_before(form.once.data, refusal), again=1), 303)
    return redirect(url_for("codes.code", uuid=uuid), 303)


def _authorize(form: AuthorizationForm) -> str:
    """Issue the code, and lay it where this session can look at it; its handle."""
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
    return issued.uuid


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
        person_languages={language: LANGUAGES[language] for language in CONSENT_LANGUAGES},
        consent_texts=current_texts(),
    )
