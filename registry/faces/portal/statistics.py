"""Figures for decisions: codes and uploads by the day, with nobody in them. For officials who may see them.

Everything here was let go before (`registry.lifecycle.statistics`): a page can be opened as often as one
likes and says the same. What is hidden is said to be hidden, never drawn as nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from flask import Blueprint, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy

from registry.faces.database import db
from registry.faces.pages.charts import Chart, Series
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.faces.tables import csv_of
from registry.lifecycle.noise import LEAST_SHOWN, width_of
from registry.lifecycle.statistics import (
    ALL,
    CERTIFIED,
    DELAY,
    DELAY_BINS,
    EXPIRED,
    LONGER,
    REDEEMED,
    REGIONS,
    UPLOADS,
    figures,
    issued,
    last_day_over,
)
from registry.models.official import Permission

PERIODS = (7, 28, 90)
"""Days to choose from, the first of them if nobody chose."""
SHARE_WITHIN = Fraction(19, 20)
"""Of all noise, what lies within the width that the page tells."""
DELAYS = {
    "15m": lazy("up to 15 minutes"),
    "30m": lazy("up to 30 minutes"),
    "1h": lazy("up to 1 hour"),
    "2h": lazy("up to 2 hours"),
    "3h": lazy("up to 3 hours"),
    "6h": lazy("up to 6 hours"),
    "12h": lazy("up to 12 hours"),
    "24h": lazy("up to 24 hours"),
    LONGER: lazy("longer"),
}

pages = Blueprint("statistics", __name__, url_prefix="/portal/statistics")
pages.before_request(require(Permission.STATISTICS))


@dataclass(frozen=True, slots=True)
class Line:
    """A sum over the period: of the days on which it is shown, and on how many it is hidden."""

    name: str
    n: int
    hidden: int

    @classmethod
    def of(cls, name: str, values: Sequence[int | None]) -> "Line":
        """The sum of what is there."""
        shown = [value for value in values if value is not None]
        return cls(name, sum(shown), len(values) - len(shown))


@dataclass(frozen=True, slots=True)
class Period:
    """The figures of some days, the oldest first."""

    days: tuple[date, ...]
    issued: tuple[int, ...]
    tables: tuple[Mapping[str, Mapping[str, int]], ...]

    def cell(self, name: str, cell: str = ALL) -> tuple[int | None, ...]:
        """One cell on each day, None where it is hidden."""
        return tuple(tables.get(name, {}).get(cell) for tables in self.tables)

    def cells(self, name: str) -> list[str]:
        """All cells of a table that are shown on any of the days."""
        return sorted({cell for tables in self.tables for cell in tables.get(name, {})})


@pages.get("/")
def overview() -> ResponseReturnValue:
    """The funnel, the delays, the days."""
    period = _period()
    funnel = [
        Line.of(str(_("Codes handed over")), period.issued),
        Line.of(str(_("Codes used by a phone")), period.cell(REDEEMED)),
        Line.of(str(_("Certificates given")), period.cell(CERTIFIED)),
        Line.of(str(_("Uploads published")), period.cell(UPLOADS)),
    ]
    return render_template(
        "portal/statistics.html",
        periods=PERIODS,
        period=period,
        funnel=funnel,
        unused=Line.of(str(_("Codes that ended unused")), period.cell(EXPIRED)),
        delays=[Line.of(str(name), period.cell(DELAY, cell)) for cell, name in DELAYS.items()],
        regions=[Line.of(region, period.cell(REGIONS, region)) for region in period.cells(REGIONS)],
        charts=_charts(period),
        least=LEAST_SHOWN,
        width=width_of(SHARE_WITHIN),
    )


@pages.get("/figures.csv")
def table() -> ResponseReturnValue:
    """The same by the day, for a spreadsheet: what is hidden is empty."""
    period = _period()
    bins = [*DELAY_BINS, LONGER]
    regions = period.cells(REGIONS)
    names = ["date", "issued", "redeemed", "certified", "expired_unused", "uploads"]
    columns = [
        period.issued,
        *(period.cell(name) for name in (REDEEMED, CERTIFIED, EXPIRED, UPLOADS)),
        *(period.cell(DELAY, cell) for cell in bins),
        *(period.cell(REGIONS, region) for region in regions),
    ]
    rows = zip((day.isoformat() for day in period.days), *columns, strict=True)
    header = [*names, *(f"delay_{cell}" for cell in bins), *(f"uploads_{region}" for region in regions)]
    response = Response(csv_of(header, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="figures.csv"'
    return response


def _period() -> Period:
    """What was chosen; the shortest period for what is none of them."""
    asked = request.args.get("days", default=PERIODS[0], type=int)
    count = asked if asked in PERIODS else PERIODS[0]
    last = last_day_over(this_face().clock())
    days = tuple(last - timedelta(days=back) for back in range(count - 1, -1, -1))
    session, authority_id = db.session(), g.official.authority_id
    released = figures(session, authority_id, days[0], last)
    codes = issued(session, authority_id, days[0], last)
    return Period(
        days, tuple(codes.get(day, 0) for day in days), tuple(released.get(day, {}) for day in days)
    )


def _charts(period: Period) -> list[Chart]:
    return [
        _chart(
            period,
            "codes",
            _("Codes by the day"),
            (str(_("handed over")), period.issued),
            (str(_("used")), period.cell(REDEEMED)),
        ),
        _chart(period, "uploads", _("Uploads by the day"), (str(_("uploads")), period.cell(UPLOADS))),
    ]


def _chart(period: Period, name: str, title: str, *series: tuple[str, Sequence[int | None]]) -> Chart:
    """A hidden day is drawn as nothing, and told as hidden in the table."""
    show: Callable[[float], str] = lambda value: str(_("hidden")) if value < 0 else f"{value:g}"  # noqa: E731
    return Chart(
        name=name,
        title=title,
        summary=str(_("What is hidden has no bar.")),
        days=period.days,
        series=tuple(
            Series(name, tuple(-1 if value is None else value for value in values)) for name, values in series
        ),
        show=show,
        is_stacked=False,
    )
