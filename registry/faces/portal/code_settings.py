"""Settings: the form of the authority's codes, and the risk of each form, from the codes that there are now.

Two kinds of chances stand there: at the rate of wrong codes of the hours that have ended, as the processes
that phones call have told it, and at the full budget of an attacker.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from babel.numbers import format_decimal, format_percent
from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy

from registry.faces.database import db
from registry.faces.pages.language import page_language
from registry.faces.portal.forms import CodeFormForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.guessing import choose_code_form, code_form_of, live_codes, wrong_codes_since
from registry.models import transaction
from registry.models.official import Permission
from registry.protocol.codes import CodeForm, space_of
from registry.protocol.guessing import COUNTED_SECONDS, ROOM, GuessBudget, chance_of_a_hit, most_looked_at

ATTACKS = (1, 200, 10_000)
"""From how many networks: somebody at home, a small rented net of machines, a large one."""
COMPARED_NETWORKS = 200
COMPARED_CODES = 1_000
"""What the forms are compared by."""
HOURS_IN_SIXTY_MINUTES, HOURS_IN_A_DAY = 2, 25
"""Hours of the clock that are touched, in each of which so much is looked at."""

FORM_NAMES = {
    CodeForm.DIGITS: lazy("14 digits and a check digit"),
    CodeForm.LETTERS: lazy("10 letters and digits, and a check character"),
    CodeForm.SHORT: lazy("8 digits"),
}

pages = Blueprint("code_settings", __name__, url_prefix="/portal/settings/codes")
pages.before_request(require(Permission.SETTINGS))


@dataclass(frozen=True, slots=True)
class Attack:
    """What guessing from so many networks comes to, in words."""

    networks: str
    guesses: str
    in_an_hour: str
    in_a_day: str


@dataclass(frozen=True, slots=True)
class Present:
    """How many wrong codes there were, and the chance that one of so many finds a code, in words."""

    period: str
    looked_at: str
    refused: str
    chance: str


@pages.get("/")
def overview() -> ResponseReturnValue:
    """The form in use, what can be guessed at, and the choice."""
    form = CodeFormForm()
    form.code_form.data = code_form_of(db.session(), g.official.authority_id).value
    return _page(form)


@pages.post("/")
def choose() -> ResponseReturnValue:
    """Put the choice on record, or show the form again with what to mend."""
    face, form, session = this_face(), CodeFormForm(), db.session()
    if not form.validate():
        return _page(form), 400
    with transaction(session):
        choose_code_form(
            session,
            CodeForm(form.code_form.data),
            authority_id=g.official.authority_id,
            official_id=g.official.official_id,
            now=face.clock(),
        )
    return redirect(url_for("code_settings.overview", saved=1), 303)


def _page(form: CodeFormForm) -> str:
    session, authority_id = db.session(), g.official.authority_id
    live = live_codes(session, authority_id, this_face().clock())
    in_use = code_form_of(session, authority_id)
    has_short = in_use is CodeForm.SHORT or CodeForm.SHORT in live
    present = [
        _present(_("The last hour that has ended"), 1, live),
        _present(_("The last 24 hours that have ended"), 24, live),
    ]
    return render_template(
        "portal/code_settings.html",
        present=present,
        form=form,
        saved="saved" in request.args,
        form_names={one.value: name for one, name in FORM_NAMES.items()},
        in_use=FORM_NAMES[in_use],
        has_short=has_short,
        live=[(FORM_NAMES[one], _number(live[one])) for one in CodeForm if one in live],
        space=_number(space_of(in_use)),
        attacks=[_attack(networks, live, _budget_of(has_short)) for networks in ATTACKS],
        compared={one.value: _compared(one) for one in CodeForm},
        compared_codes=_number(COMPARED_CODES),
        compared_networks=_number(COMPARED_NETWORKS),
    )


def _present(period: str, hours: int, live: Mapping[CodeForm, int]) -> Present:
    this_hour = this_face().clock() // COUNTED_SECONDS * COUNTED_SECONDS
    since = this_hour - hours * COUNTED_SECONDS
    looked_at, refused = wrong_codes_since(db.session(), g.official.authority_id, since)
    return Present(period, _number(looked_at), _number(refused), _chance(chance_of_a_hit(looked_at, live)))


def _budget_of(has_short: bool) -> GuessBudget:
    """What phones' calls are judged by, where codes of eight digits can be used or not."""
    return GuessBudget() if has_short else ROOM


def _attack(networks: int, live: Mapping[CodeForm, int], budget: GuessBudget) -> Attack:
    hour, day = (_looked_at(budget, networks, hours) for hours in (HOURS_IN_SIXTY_MINUTES, HOURS_IN_A_DAY))
    return Attack(
        _number(networks),
        _number(hour),
        _chance(chance_of_a_hit(hour, live)),
        _chance(chance_of_a_hit(day, live)),
    )


def _compared(form: CodeForm) -> str:
    guesses = _looked_at(_budget_of(form is CodeForm.SHORT), COMPARED_NETWORKS, HOURS_IN_A_DAY)
    return _chance(chance_of_a_hit(guesses, {form: COMPARED_CODES}))


def _looked_at(budget: GuessBudget, networks: int, hours: int) -> int:
    processes = this_face().web_processes
    return most_looked_at(budget, networks=networks, processes=processes, hours=hours)


def _chance(probability: float) -> str:
    """In words that can be compared, and as a percentage while that says something."""
    if probability == 0:
        return str(_("none"))
    percent = format_percent(probability, "#,##0.##%", locale=page_language())
    if probability >= 0.995:
        return str(_("practically certain (%(percent)s)", percent=percent))
    if probability >= 0.5:
        return str(_("more likely than not (%(percent)s)", percent=percent))
    once_in = 1 / probability
    magnitude = 10 ** max(0, math.floor(math.log10(once_in)) - 1)
    number = _number(round(once_in / magnitude) * magnitude)
    if probability < 0.0001:
        return str(_("1 in %(number)s", number=number))
    return str(_("1 in %(number)s (%(percent)s)", number=number, percent=percent))


def _number(number: int) -> str:
    return format_decimal(number, locale=page_language())
