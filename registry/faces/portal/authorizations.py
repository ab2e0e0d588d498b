"""The form: one statement in, one code out, which has a page of its own (`codes`).

The same form sent twice makes one code and leads to its page again, which says so.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from babel.dates import format_skeleton
from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES, page_language
from registry.faces.portal.consent import CONSENT_LANGUAGES, texts_of
from registry.faces.portal.forms import (
    AGREEMENTS,
    NO_RESULT,
    OTHER_DAY,
    REPORT_TYPES,
    AuthorizationForm,
)
from registry.faces.portal.messages import send_code, sms_labels, sms_maker
from registry.faces.portal.quota import shown_quota
from registry.faces.portal.sections import sections_for
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import signed_in_or_told
from registry.lifecycle.at_hand import keep_at_hand, own_code
from registry.lifecycle.authorize import IssuedCode, Statement, authorize, date_limits
from registry.models import transaction
from registry.models.official import Permission

Form = TypeVar("Form", bound=AuthorizationForm)

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
    return _form_page(new_form(AuthorizationForm))


@pages.post("/")
def hand_over() -> ResponseReturnValue:
    """Record the statement and lead to its code, or show the form again with what to mend."""
    return answer_to(new_form(AuthorizationForm), _form_page, then=_send_if_wanted)


def _send_if_wanted(form: AuthorizationForm, issued: IssuedCode) -> None:
    if form.phone.data:
        # A crash before this leaves the code's page, from where it can be sent.
        send_code(
            issued.uuid,
            issued,
            expires_at=issued.expires_at,
            number=form.phone.data,
            label=form.sms_label.data,
            language=str(form.consent_language.data),
        )


def answer_to(
    form: Form,
    show: Callable[[Form], str],
    *,
    phone_code: str | None = None,
    then: Callable[[Form, IssuedCode], None] | None = None,
) -> ResponseReturnValue:
    """Record what a form states and lead to its code; or `show` it again with what to mend.

    With `phone_code` the code is the one that the person's phone has made. `then` is done once the code is
    there. Refuses as `authorize` does, but for what the page says itself.
    """
    if not form.validate():
        return show(form), 400
    try:
        issued = _issue_code(form, phone_code)
    except Refusal as refusal:
        if refusal.code is RefusalCode.QUOTA_EXCEEDED:
            # The page says that no code is left, and keeps what was filled in.
            return show(form), 429
        if refusal.code is not RefusalCode.UUID_ALREADY_EXISTS:
            raise
        # What was changed since is on no record: the page says so.
        return redirect(url_for("codes.code", uuid=_made_before(form.once.data, refusal), again=1), 303)
    if then is not None:
        then(form, issued)
    return redirect(url_for("codes.code", uuid=issued.uuid), 303)


def _issue_code(form: AuthorizationForm, phone_code: str | None) -> IssuedCode:
    """Issue the code, and lay it where this session can look at it."""
    face, session = this_face(), db.session()
    with transaction(session):
        # A crash after this commit leaves a code whose page is in the list of the official's own.
        issued = authorize(
            session,
            Statement(
                report_type=str(form.report_type.data),
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
            phone_code=phone_code,
        )
        if phone_code is None:
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


def new_form(kind: type[Form]) -> Form:
    """A form with the days that may be named now, filled in by the request under way."""
    face = this_face()
    now = face.clock()
    today = datetime.fromtimestamp(now, ZoneInfo(face.time_zone)).date()
    return kind(date_limits(face.policy, now), today)


def test_days(form: AuthorizationForm) -> dict[str, str]:
    """The answers to the first question, with the days in words."""
    names = (_("Yes, tested today"), _("Yes, tested yesterday"), _("Yes, tested the day before"))
    days = {
        day.isoformat(): f"{name} ({format_skeleton('MMMEd', day, locale=page_language())})"
        for name, day in zip(names, form.days, strict=True)
    }
    return days | {
        OTHER_DAY: _("Yes, tested on another day")
        if form.report_type.data == "negative"
        else _("Yes, on another day, or by a clinician's diagnosis"),
        NO_RESULT: _("No, or not yet"),
    }


def common_parts(form: AuthorizationForm) -> dict[str, object]:
    """What every form for a statement shows: what is left of today's codes, languages, texts and answers."""
    return {
        "quota": shown_quota(),
        "agreements": AGREEMENTS,
        "person_languages": {language: LANGUAGES[language] for language in CONSENT_LANGUAGES},
        "consent_texts": texts_of(form.text_version),
    }


def _form_page(form: AuthorizationForm) -> str:
    return render_template(
        "portal/statement.html",
        form=form,
        report_types=REPORT_TYPES,
        test_days=test_days(form),
        may_send=sms_maker() is not None,
        sms_labels={label: label for label in sms_labels()},
        **common_parts(form),
    )
