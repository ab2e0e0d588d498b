"""An official's own codes: a page each, to read it out, follow it, let it live longer or end it; and a list.

The code stands on its page alone: not in an address, a title or a cookie, and in the database only sealed to
the session that issued it. That it was used is told once in a quarter of an hour, for all codes.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from babel.dates import format_date, format_timedelta, get_timezone, get_timezone_name
from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import force_locale
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from sqlalchemy.orm import Session

from registry.delivery.qr import qr_image
from registry.delivery.spoken import spoken_words
from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.pages.language import page_language
from registry.faces.portal.consent import CONSENT_LANGUAGES
from registry.faces.portal.forms import CHANNELS, NAMES_OF_TYPES
from registry.faces.portal.messages import STATES, shown_text, sms_maker
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import proof_or_asked, require
from registry.lifecycle.at_hand import AtHand, OwnCode, end_code, extend_code, look_at, own_code, own_codes
from registry.lifecycle.authorize import life_of
from registry.lifecycle.letters import make_letter
from registry.models import transaction
from registry.models.official import Permission, Way
from registry.protocol.codes import CodeForm, group, link_of

SOON_SECONDS = 3600
"""Of what is left of a code: then its page says so, while it can still be kept good for longer."""

TYPED = {
    CodeForm.DIGITS: lazy("Type the 15 digits. Spaces do not matter."),
    CodeForm.LETTERS: lazy(
        "Type the 11 letters and digits. Spaces, capitals and small letters do not matter."
    ),
    CodeForm.SHORT: lazy("Type the 8 digits. Spaces do not matter."),
}
"""What the person does with a spoken code, in their language."""

pages = Blueprint("codes", __name__, url_prefix="/portal/codes")
pages.before_request(require(Permission.ISSUE))


@pages.get("/")
def overview() -> ResponseReturnValue:
    """All own codes that are not forgotten yet."""
    face = this_face()
    codes = own_codes(db.session(), official_id=g.official.official_id, authority_id=g.official.authority_id)
    shown = [
        {
            "uuid": code.uuid,
            "day": code.authorization.stated_on.isoformat(),
            "report_type": NAMES_OF_TYPES.get(code.authorization.report_type, code.authorization.report_type),
            "channel": CHANNELS.get(code.authorization.consent_channel or ""),
            "state": _state(code),
            "until": None if code.is_over(face.clock()) else in_zone(code.expires_at, page_language()),
            "at_hand": lies_at_hand(code),
        }
        for code in codes
    ]
    return render_template("portal/codes.html", codes=shown)


@pages.get("/<uuid>")
def code(uuid: str) -> ResponseReturnValue:
    """The page of one code, with the code itself as long as it lies at hand."""
    own, now, language = find_own(uuid), this_face().clock(), page_language()
    at_hand = lies_at_hand(own)
    link = None if at_hand is None else link_of(this_face().address, at_hand.link_code)
    person_language = str(own.authorization.consent_language)
    if person_language not in CONSENT_LANGUAGES:
        person_language = language
    return render_template(
        "portal/code.html",
        **_state_of(own, at_hand),
        was_sent_before="again" in request.args,
        at_hand=None if at_hand is None else read_out(at_hand.code, own, person_language),
        link=link,
        qr=None if link is None else qr_image(link),
        shown_until=None if at_hand is None else in_zone(at_hand.shown_until, language),
        person_language=person_language,
        said=_said(own, person_language) if own.phone_made else None,
        is_short=own.form is CodeForm.SHORT,
        may_send=at_hand is not None and sms_maker() is not None,
        shown_sms=None
        if at_hand is None or own.delivery is None
        else shown_text(at_hand, own.expires_at, person_language),
        may_recall=Permission.RECALL in g.official.permissions,
        may_make_letter=g.official.way is not Way.PRINTED,
        statement_number=own.authorization.id,
        phone_made=own.phone_made,
        longer=None if own.expires_at >= own.longest else _how_long(own, language),
        expires_utc=_day_and_time(datetime.fromtimestamp(own.expires_at, UTC), language),
        expires_zone=in_zone(own.expires_at, language),
        now_zone=in_zone(now, language),
    )


@pages.get("/<uuid>/state")
def state(uuid: str) -> ResponseReturnValue:
    """What the page says of the code's state, alone: asked for by the page while it is open."""
    own = find_own(uuid)
    return render_template("portal/code_state.html", **_state_of(own, lies_at_hand(own)))


@pages.post("/<uuid>/extend")
def extend(uuid: str) -> ResponseReturnValue:
    """Let it live longer."""
    face = this_face()
    return _then_its_page(
        partial(
            extend_code,
            uuid=uuid,
            official_id=g.official.official_id,
            authority_id=g.official.authority_id,
            policy=face.policy,
            now=face.clock(),
        ),
        uuid,
    )


@pages.post("/<uuid>/end")
def end(uuid: str) -> ResponseReturnValue:
    """End it now."""
    face = this_face()
    return _then_its_page(
        partial(
            end_code,
            uuid=uuid,
            official_id=g.official.official_id,
            authority_id=g.official.authority_id,
            now=face.clock(),
        ),
        uuid,
    )


@pages.post("/<uuid>/letter")
def letter(uuid: str) -> ResponseReturnValue:
    """A letter to print, by whose code the person alone takes back what they share.

    It voids an earlier one.
    """
    if g.official.way is Way.PRINTED:
        # Whoever holds a sheet of codes could withdraw with letters whatever its owner issued.
        abort(403)
    asked = proof_or_asked()
    if asked is not None:
        return asked
    face, session, own = this_face(), db.session(), find_own(uuid)
    with transaction(session):
        # A crash after this commit leaves a letter that nobody has seen: the next one voids it.
        letter_code = make_letter(
            session,
            uuid,
            official_id=g.official.official_id,
            authority_id=g.official.authority_id,
            lookup_key=face.lookup_key,
            recall_key=face.recall_key,
            now=face.clock(),
        )
    language = str(own.authorization.consent_language)
    today = datetime.fromtimestamp(face.clock(), get_timezone(face.time_zone))
    with force_locale(language):
        return render_template(
            "portal/letter.html",
            uuid=own.uuid,
            groups=[letter_code[place : place + 4] for place in range(0, len(letter_code), 4)],
            address=f"{face.address}/withdraw/",
            letter_language=language,
            day=format_date(today, "long", locale=language),
        )


def _then_its_page(act: Callable[[Session], object], uuid: str) -> ResponseReturnValue:
    """Do something with the code and lead to its page, which also says if the code was over already."""
    session = db.session()
    try:
        with transaction(session):
            # A crash after this commit leaves what was done, as the code's page says.
            act(session)
    except Refusal as refusal:
        if refusal.code is not RefusalCode.CODE_EXPIRED:
            raise
    return redirect(url_for("codes.code", uuid=uuid), 303)


def find_own(uuid: str) -> OwnCode:
    """The code of that handle; refuses with `code_not_found` for one that is not the official's own."""
    return own_code(
        db.session(), uuid, official_id=g.official.official_id, authority_id=g.official.authority_id
    )


def lies_at_hand(own: OwnCode) -> AtHand | None:
    """The code itself, as long as it is good and can be looked at by this session."""
    now = this_face().clock()
    return None if own.is_over(now) else look_at(db.session(), own.uuid, g.official.secret, now)


def _state(own: OwnCode) -> str:
    left = own.expires_at - this_face().clock()
    if own.is_known_used:
        return str(_("Used: the person's phone has taken it."))
    if left <= 0:
        return str(
            _(
                "Ended. Should a phone have used it before, that is told here within a quarter of an hour: "
                "then ask for a recall."
            )
        )
    if left <= SOON_SECONDS:
        return str(_("Not known to be used, and good for less than an hour."))
    return str(_("Not known to be used."))


def _state_of(own: OwnCode, at_hand: AtHand | None) -> dict[str, object]:
    """What changes while a page is open. `stage` is one word for what the rest of the page depends on."""
    is_over = own.is_over(this_face().clock())
    stage = "over" if is_over else "hidden" if at_hand is None else "shown"
    return {
        "uuid": own.uuid,
        "state": _state(own),
        "delivery": STATES.get(own.delivery or ""),
        "is_over": is_over,
        "stage": stage,
    }


def read_out(code: str, own: OwnCode, language: str) -> dict[str, object]:
    """The code in groups, a word for each character, and what else is said, in the person's language."""
    with force_locale(language):
        return {
            "groups": [list(zip(part, spoken_words(part, language), strict=True)) for part in group(code)],
            "read_back": _("Please read the code back to me."),
            "next_taps": [
                _("Open the app and tap “Enter a code”."),
                str(TYPED[own.form]),
                *_last_taps(own),
            ],
            "good_until": _("The code is good until %(time)s.", time=in_zone(own.expires_at, language)),
        }


def _said(own: OwnCode, language: str) -> list[str]:
    """What the person is told whose phone shows the code itself."""
    with force_locale(language):
        return [_("Tap “Continue” in the app."), *_last_taps(own)]


def _last_taps(own: OwnCode) -> list[str]:
    """What the person taps once the app has the code, in the language in force."""
    if own.authorization.report_type == "negative":
        return [_("Tap “Take it back”. Until then the warning stays.")]
    return [
        _("Look at what will be shared, day by day."),
        _("Tap “Share”. Until then nothing leaves your phone."),
    ]


def _how_long(own: OwnCode, language: str) -> str:
    """For how long it would be good from now, if it were extended: such as 24 hours."""
    life = life_of(own.form, this_face().policy, phone_made=own.phone_made)
    return str(format_timedelta(timedelta(seconds=life), threshold=2, locale=language))


def in_zone(unix_seconds: float, language: str) -> str:
    """Day and time in the officials' zone, and its name."""
    zone = get_timezone(this_face().time_zone)
    local = datetime.fromtimestamp(unix_seconds, zone)
    return f"{_day_and_time(local, language)} ({get_timezone_name(local, locale=language)})"


def _day_and_time(moment: datetime, language: str) -> str:
    return f"{format_date(moment, 'full', locale=language)} {moment:%H:%M}"
