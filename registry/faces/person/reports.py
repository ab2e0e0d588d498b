"""Reporting a positive test by oneself, on a page that the app opens.

As apps do it: a POST with the API key in `X-API-Key` and in `X-Nonce` the base64 of 256 random bytes, and no
more. Both are carried on in the form, signed (`opening`); a code is good only with the same bytes. What is
typed goes to the gateway and is kept nowhere. The form carries no other token against forgery: it is of no
use without an opening.
"""

import re
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from sqlalchemy import select
from werkzeug.datastructures import MultiDict

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.errors import Refusal, RefusalCode
from registry.faces.database import db
from registry.faces.pages.language import page_language
from registry.faces.person.opening import Opening, read_opening, sign_opening
from registry.faces.person.settings import PersonFace, this_face
from registry.faces.self_reports import OwnReport, SelfReportDesk, read_nonce
from registry.lifecycle.api_keys import ApiKeyKind, authority_of_key
from registry.lifecycle.authorize import date_limits, hash_api_key
from registry.models import Authority

pages = Blueprint("reports", __name__, url_prefix="/report")

TICKS = {
    "positive": lazy("I tested positive"),
    "own_phone": lazy("This phone and its number are mine"),
    "wanted": lazy("I want a code by SMS, to warn others with it"),
}
_UNTICKED = {
    "positive": lazy("Tick that you tested positive. If you did not, please do not report."),
    "own_phone": lazy("Tick that phone and number are yours. For somebody else, use their phone."),
    "wanted": lazy("Tick that you want a code by SMS."),
}
_QUEUE_FULL = lazy(
    "Too many SMS are waiting to be sent. Nothing was sent. Press the button again in a minute."
)
_KEPT_OUT = {
    RefusalCode.QUOTA_EXCEEDED: (
        429,
        lazy("No more codes can be sent today"),
        lazy("Nothing was sent. Try again tomorrow, or ask your health authority for a code."),
    ),
    RefusalCode.MAINTENANCE_MODE: (
        503,
        lazy("Codes cannot be sent at the moment"),
        lazy("Nothing was sent. Try again in an hour."),
    ),
}
"""Refusals that nothing on the form can mend: status, title and advice."""
_TICKED = "y"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Filled:
    """The form as it was filled in. Prints without the number."""

    phone: str = field(default="", repr=False)
    test_date: str = ""
    onset_date: str = ""
    ticked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, sent: "MultiDict[str, str]") -> Self:
        """What came in."""
        return cls(
            phone=sent.get("phone", "").strip(),
            test_date=sent.get("test_date", "").strip(),
            onset_date=sent.get("onset_date", "").strip(),
            ticked=frozenset(name for name in TICKS if sent.get(name) == _TICKED),
        )


@pages.get("")
def start() -> str:
    """What the page is for, and that the app opens it; 404 where no authority takes reports."""
    return _start_page("")


@pages.post("")
def report() -> ResponseReturnValue:
    """The form for an app that opens it; and what was filled in there, done, or shown again to be mended."""
    face, session = this_face(), db.session()
    came_before = "opened" in request.form
    opening = _carried(face) if came_before else _opened_by_app(face)
    authority_id = authority_of_key(session, opening.api_key_hash, ApiKeyKind.DEVICE) if opening else None
    if opening is None or authority_id is None:
        if came_before:
            return _start_page(_("This page was open for too long. Nothing was sent.")), 400
        return _start_page(_("The app did not open this page as it must. Update the app.")), 400
    desk = SelfReportDesk(face.clock, face.lookup_key, face.policy, face.sms)
    try:
        sender = desk.sender(session.get_one(Authority, authority_id))
    except Refusal:
        abort(404)
    if not came_before or "language" in request.form:
        return _form_page(face, opening, Filled(), {})
    filled = Filled.of(request.form)
    days, faults = _looked_through(face, filled, *sender)
    if faults:
        return _form_page(face, opening, filled, faults), 400
    own = OwnReport(
        authority_id,
        opening.api_key_hash,
        phone=filled.phone,
        nonce=opening.nonce,
        test_date=days["test_date"],
        onset_date=days["onset_date"],
        language=page_language(),
    )
    try:
        desk.take(session, own)
    except Refusal as refusal:
        if refusal.code is RefusalCode.SMS_QUEUE_FULL:
            return _form_page(face, opening, filled, {"send": str(_QUEUE_FULL)}), 503
        return _kept_out(refusal)
    # One page, whether or not an SMS goes out: nothing on it may depend on that.
    return render_template("person/reported.html")


def _kept_out(refusal: Refusal) -> ResponseReturnValue:
    if refusal.code not in _KEPT_OUT:
        raise refusal
    status, title, advice = _KEPT_OUT[refusal.code]
    return render_template("person/mistake.html", title=title, advice=advice), status


def _opened_by_app(face: PersonFace) -> Opening | None:
    try:
        nonce = read_nonce(request.headers.get("X-Nonce", ""))
    except Refusal:
        return None
    return Opening(hash_api_key(face.lookup_key, request.headers.get("X-API-Key", "")), nonce)


def _looked_through(
    face: PersonFace, filled: Filled, maker: SmsMaker, desk: SmsDesk
) -> tuple[dict[str, date | None], dict[str, str]]:
    """The days, and by element what is to be mended."""
    days: dict[str, date | None] = {"test_date": None, "onset_date": None}
    faults: dict[str, str] = {}
    try:
        desk.check(maker.read_number(filled.phone))
    except Refusal as refusal:
        faults["phone"] = _fault_of_number(filled.phone, refusal)
    earliest, latest = date_limits(face.policy, face.clock())
    for name, typed in (("test_date", filled.test_date), ("onset_date", filled.onset_date)):
        try:
            days[name] = _day(typed)
        except ValueError:
            faults[name] = _("Write the date as year-month-day, like 2026-03-09.")
            continue
        day = days[name]
        if day is not None and not earliest <= day <= latest:
            most = face.policy.oldest_date_days
            faults[name] = _("Give a day of the last %(most)s days, and none to come.", most=most)
    if not (filled.test_date or filled.onset_date):
        faults["test_date"] = _("Give the day of the test, or the day of the first symptoms.")
    faults |= {name: str(text) for name, text in _UNTICKED.items() if name not in filled.ticked}
    return days, faults


def _fault_of_number(typed: str, refusal: Refusal) -> str:
    if not typed:
        return str(_("Type the telephone number of this phone."))
    if refusal.code is RefusalCode.SMS_FAILURE:
        text = _("No SMS can be sent to numbers of this country. Ask your health authority for a code.")
    else:
        text = _("This is no telephone number. Write it with + and country code, like +86 138 0000 0000.")
    return str(text)


def _day(typed: str) -> date | None:
    if not typed:
        return None
    if not _DAY.fullmatch(typed):
        raise ValueError("not YYYY-MM-DD")
    return date.fromisoformat(typed)


def _start_page(problem: str) -> str:
    taken = select(Authority.id).where(Authority.self_report).limit(1)
    if this_face().sms.desk is None or db.session.scalar(taken) is None:
        abort(404)
    return render_template("person/report.html", problem=problem)


def _form_page(face: PersonFace, opening: Opening, filled: Filled, faults: dict[str, str]) -> str:
    now = face.clock()
    earliest, latest = date_limits(face.policy, now)
    return render_template(
        "person/report_form.html",
        opened=sign_opening(opening, face.lookup_key, now),
        filled=filled,
        faults=faults,
        ticks=TICKS,
        earliest=earliest,
        latest=latest,
        most=face.policy.oldest_date_days,
        chosen_language=request.args.get("lang") and page_language(),
    )


def _carried(face: PersonFace) -> Opening | None:
    return read_opening(request.form["opened"], face.lookup_key, face.clock())
