"""Today's codes: how many are left before a shift meets the end of them, more of them, the limits, and
officials whose figures look odd.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from babel.dates import get_timezone, get_timezone_name
from flask import Blueprint, abort, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import NotToBeDecided
from registry.faces.database import db
from registry.faces.pages.charts import Chart, Series
from registry.faces.pages.language import page_language
from registry.faces.portal.quota_forms import ALL, OWN, WHOSE, LimitsForm, SurgeForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import demand, require
from registry.lifecycle.oddities import few_used, many_codes
from registry.lifecycle.quota import (
    WHOLE_AUTHORITY,
    Quota,
    QuotaLimits,
    issued_before,
    limits_of,
    officials_issuer,
    quota_of,
    set_limits,
    starts_anew,
)
from registry.lifecycle.surges import (
    ask_surge,
    decide_surge,
    largest_surge,
    may_decide_surge,
    surges_of_today,
)
from registry.models import Official, SurgeRequest, transaction
from registry.models.official import Permission
from registry.models.quota import SurgeState
from registry.protocol.intervals import utc_date

CHART_DAYS = 28
ISSUERS = frozenset({Permission.ISSUE, Permission.BULK})
WATCHERS = frozenset({Permission.OFFICIALS, Permission.SETTINGS})
"""Who is told of odd figures."""
VISITORS = ISSUERS | WATCHERS | {Permission.APPROVE}

pages = Blueprint("quota", __name__, url_prefix="/portal/quota")
pages.before_request(require(*VISITORS))


@dataclass(frozen=True, slots=True)
class ShownQuota:
    """What is left today, for whoever is signed in."""

    own: Quota
    authority: Quota
    anew: str
    """When the next day begins, in words."""

    @property
    def left(self) -> int:
        """How many more codes they can hand over."""
        return min(self.own.left, self.authority.left)

    @property
    def is_short(self) -> bool:
        """Whether four fifths of either are used."""
        return self.own.is_short or self.authority.is_short


def shown_quota() -> ShownQuota:
    """For the official of the request under way."""
    face, session = this_face(), db.session()
    now, quota = face.clock(), face.policy.quota
    authority_id = g.official.authority_id
    return ShownQuota(
        own=quota_of(session, authority_id, g.official.official_id, quota, now),
        authority=quota_of(session, authority_id, None, quota, now),
        anew=_anew(now),
    )


@pages.get("")
def today() -> ResponseReturnValue:
    """The page."""
    return _page(_surge_form(), LimitsForm(formdata=None))


@pages.post("/ask")
def ask() -> ResponseReturnValue:
    """Put a request for more codes on record, or the page again with what to mend."""
    if g.official.permissions.isdisjoint(ISSUERS):
        abort(403)
    face, form, session = this_face(), _surge_form(), db.session()
    if not form.validate():
        return _page(form, LimitsForm(formdata=None)), 400
    with transaction(session):
        # A crash after this commit leaves a request that waits for its decision like any other.
        ask_surge(
            session,
            authority_id=g.official.authority_id,
            asked_by=g.official.official_id,
            is_for_all=form.whose.data == ALL,
            amount=form.amount.data,
            policy=face.policy.quota,
            now=face.clock(),
        )
    return redirect(url_for("quota.today"), 303)


@pages.post("/<request_id>/approve")
def approve(request_id: str) -> ResponseReturnValue:
    """Let there be more."""
    return _decide(request_id, approve=True)


@pages.post("/<request_id>/refuse")
def refuse(request_id: str) -> ResponseReturnValue:
    """Nothing changes."""
    return _decide(request_id, approve=False)


@pages.post("/limits")
def limits() -> ResponseReturnValue:
    """Fix the limits, or the page again with what to mend."""
    demand(Permission.SETTINGS)
    face, form, session = this_face(), LimitsForm(), db.session()
    if not form.validate():
        return _page(_surge_form(), form), 400
    with transaction(session):
        # A crash after this commit leaves the limits as they were fixed.
        set_limits(
            session,
            g.official.authority_id,
            QuotaLimits(form.authority_most.data, form.official_most.data, form.bulk_most.data),
            official_id=g.official.official_id,
            policy=face.policy.quota,
            now=face.clock(),
        )
    return redirect(url_for("quota.today"), 303)


def _decide(request_id: str, *, approve: bool) -> ResponseReturnValue:
    demand(Permission.APPROVE)
    face, session = this_face(), db.session()
    try:
        with transaction(session):
            # A crash after this commit leaves the day's quota as it was decided.
            decide_surge(
                session,
                request_id,
                authority_id=g.official.authority_id,
                official_id=g.official.official_id,
                approve=approve,
                policy=face.policy.quota,
                now=face.clock(),
            )
    except NotToBeDecided:
        return _page(_surge_form(), LimitsForm(formdata=None), is_decided=True), 409
    return redirect(url_for("quota.today"), 303)


def _surge_form() -> SurgeForm:
    face, session = this_face(), db.session()
    now, quota, authority_id = face.clock(), face.policy.quota, g.official.authority_id
    return SurgeForm(
        {
            OWN: largest_surge(session, authority_id, g.official.official_id, quota, now),
            ALL: largest_surge(session, authority_id, None, quota, now),
        }
    )


def _page(surge_form: SurgeForm, limits_form: LimitsForm, *, is_decided: bool = False) -> str:
    session, held = db.session(), g.official.permissions
    fixed = limits_of(session, g.official.authority_id)
    if not limits_form.is_submitted() or not limits_form.errors:
        limits_form.authority_most.data = fixed.authority
        limits_form.official_most.data = fixed.official
        limits_form.bulk_most.data = fixed.bulk
    names = _names(session)
    now, authority_id = this_face().clock(), g.official.authority_id
    is_watching = not held.isdisjoint(WATCHERS)
    return render_template(
        "portal/quota.html",
        quota=shown_quota(),
        is_issuer=not held.isdisjoint(ISSUERS),
        is_decided=is_decided,
        surge_form=surge_form,
        whose=WHOSE,
        surges=[_shown(surge, names, now) for surge in surges_of_today(session, authority_id, now)],
        limits_form=limits_form if Permission.SETTINGS in held else None,
        is_watching=is_watching,
        many_codes=many_codes(session, authority_id, now) if is_watching else [],
        few_used=few_used(session, authority_id, now) if is_watching else [],
        chart=_chart(session, now),
    )


def _shown(surge: SurgeRequest, names: dict[str, str], now: float) -> dict[str, object]:
    """A request in words."""
    is_mine = surge.asked_by == g.official.official_id
    states = {
        SurgeState.ASKED: _("waits for another official"),
        SurgeState.APPROVED: _("approved"),
        SurgeState.REFUSED: _("refused"),
    }
    return {
        "id": surge.id,
        "amount": surge.amount,
        "is_for_all": surge.is_for_all,
        "asked_by": names.get(surge.asked_by, surge.asked_by),
        "decided_by": names.get(surge.decided_by, surge.decided_by) if surge.decided_by else None,
        "state": states[SurgeState(surge.state)],
        "is_mine": is_mine,
        "may_decide": Permission.APPROVE in g.official.permissions
        and may_decide_surge(surge, g.official.official_id, now),
    }


def _chart(session: Session, now: float) -> Chart:
    """The last four weeks, today included: of the authority, and what of it were one's own."""
    authority_id, today = g.official.authority_id, utc_date(now)
    own_name = officials_issuer(g.official.official_id)
    everybody = issued_before(session, authority_id, WHOLE_AUTHORITY, today + timedelta(days=1))
    own = issued_before(session, authority_id, own_name, today + timedelta(days=1))
    days = tuple(today - timedelta(days=back) for back in range(CHART_DAYS - 1, -1, -1))
    return Chart(
        "issued",
        _("Codes of the last four weeks"),
        _("By UTC day. Today %(n)s so far.", n=everybody[-1]),
        days,
        (
            Series(_("the authority"), tuple(everybody[-CHART_DAYS:])),
            Series(_("of these yours"), tuple(own[-CHART_DAYS:])),
        ),
        lambda value: f"{value:.0f}",
        is_stacked=False,
    )


def _names(session: Session) -> dict[str, str]:
    """Officials' names, by id: of one authority, so never many."""
    wanted = select(Official.id, Official.name).where(Official.authority_id == g.official.authority_id)
    return {row.id: row.name for row in session.execute(wanted)}


def _anew(now: float) -> str:
    zone = get_timezone(this_face().time_zone)
    local = datetime.fromtimestamp(starts_anew(now), zone)
    name = get_timezone_name(local, locale=page_language())
    return str(_("00:00 UTC, that is %(local)s (%(zone)s)", local=f"{local:%H:%M}", zone=name))
