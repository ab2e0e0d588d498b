"""From exposures to a risk. Pure.

The rule for now (`seed`): any verified match within fourteen days. It must never see anything but days:
who was met, where and for how long is not known here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from registry.client.match import Exposure
from registry.protocol.intervals import utc_date

HORIZON_DAYS = 14


@dataclass(frozen=True, slots=True)
class Risk:
    """`exposed_on` is the latest day (UTC) that counts, None if there is none.

    `withdrawn_on` are days within the horizon on which every match has been revoked, oldest first.
    """

    exposed_on: date | None
    withdrawn_on: tuple[date, ...] = ()


def assess(exposures: Iterable[Exposure], *, now: float) -> Risk:
    """The risk at `now` (unix seconds): days from today - 14 on count, the first day included.

    Days after today count too: a phone whose clock went back must not lose its warning.
    """
    oldest = utc_date(now) - timedelta(days=HORIZON_DAYS)
    within = [exposure for exposure in exposures if exposure.day >= oldest]
    exposed = {exposure.day for exposure in within if not exposure.withdrawn}
    withdrawn = {exposure.day for exposure in within if exposure.withdrawn} - exposed
    return Risk(exposed_on=max(exposed, default=None), withdrawn_on=tuple(sorted(withdrawn)))
