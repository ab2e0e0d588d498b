"""The form and the code: one statement in, one code out, shown once as the answer to the form.

The code stands in that answer alone: not in an address, a title, a cookie or the database, where there is
only its keyed hash. Sending the same form again says that its code was handed out; it cannot repeat it.
"""

from datetime import UTC, datetime

from babel.dates import format_date, get_timezone, get_timezone_name
from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue
from flask_babel import force_locale
from flask_babel import gettext as _

from registry.delivery.spoken import spoken_words
from registry.faces.database import db
from registry.faces.pages.language import LANGUAGES, page_language
from registry.faces.portal.consent import CONSENT_LANGUAGES, current_texts
from registry.faces.portal.forms import CHANNELS, REPORT_TYPES, AuthorizationForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require_official
from registry.lifecycle.authorize import IssuedCode, Statement, authorize, date_limits
from registry.models import transaction
from registry.protocol.codes import group

pages = Blueprint("authorizations", __name__, url_prefix="/portal")
pages.before_request(require_official)


@pages.get("/")
def statement() -> ResponseReturnValue:
    """The empty form."""
    return _form_page(_form())


@pages.post("/")
def hand_over() -> ResponseReturnValue:
    """Record the statement and show its code, or the form again with what to mend."""
    face, form = this_face(), _form()
    if not form.validate():
        return _form_page(form), 400
    session = db.session()
    with transaction(session):
        # A crash after this commit leaves a code that nobody has seen; it expires by itself.
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
            authority_id=face.authority_id,
            lookup_key=face.lookup_key,
            policy=face.policy,
            now=face.clock(),
        )
    return _code_page(issued, form.consent_language.data)


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


def _code_page(issued: IssuedCode, person_language: str) -> str:
    with force_locale(person_language):
        read_back = _("Please read the code back to me.")
        next_taps = [
            _("Open the app and tap “Enter a code”."),
            _("Type the 15 digits. Spaces do not matter."),
            _("Look at what will be shared, day by day."),
            _("Tap “Share”. Until then nothing leaves your phone."),
        ]
        good_until = _("The code is good until %(time)s.", time=_in_zone(issued.expires_at, person_language))
    language = page_language()
    return render_template(
        "portal/code.html",
        groups=[
            list(zip(part, spoken_words(part, person_language), strict=True)) for part in group(issued.code)
        ],
        person_language=person_language,
        statement_number=issued.authorization_id,
        read_back=read_back,
        next_taps=next_taps,
        good_until=good_until,
        expires_utc=_day_and_time(datetime.fromtimestamp(issued.expires_at, UTC), language),
        expires_zone=_in_zone(issued.expires_at, language),
        now_zone=_in_zone(this_face().clock(), language),
    )


def _in_zone(unix_seconds: float, language: str) -> str:
    zone = get_timezone(this_face().time_zone)
    local = datetime.fromtimestamp(unix_seconds, zone)
    return f"{_day_and_time(local, language)} ({get_timezone_name(local, locale=language)})"


def _day_and_time(moment: datetime, language: str) -> str:
    return f"{format_date(moment, 'full', locale=language)} {moment:%H:%M}"
