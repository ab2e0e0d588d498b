"""How many codes an authority will need on a day, from the days before: the quota that nobody fixed by hand.

Pure. A quota bounds what a thief of an official's session could do; it must not meet those who work. So it is
twice what is to be expected, and what is expected follows the weekday: the middle one of the same weekdays of
eight weeks (a holiday or a single rush moves no middle), times how much more than that the last days had.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HISTORY_DAYS = 56
"""That are looked at."""
LEAST_HISTORY_DAYS = 14
"""From the first code on: before that there are no weekdays to tell apart."""
RECENT_DAYS = (3, 7)
"""Spans over which it is seen whether more is needed than before: a rise counts once it shows in one."""
ROOM = 2
"""Times what is expected."""
LEAST_SHARE_OF_A_DAY = 0.5
"""Of the middle day of all, for a weekday that had less: the first Sunday that is worked, after none was."""


@dataclass(frozen=True, slots=True)
class ForecastBounds:
    """Codes a day. `start` is what an authority has before there is a history, and less it is not then."""

    start: int
    least: int
    most: int

    def clamp(self, number: float) -> int:
        """The whole number upwards of it, within the bounds."""
        return max(self.least, min(self.most, math.ceil(number)))


def forecast_quota(issued: Sequence[int], bounds: ForecastBounds) -> int:
    """Codes for a day, from the numbers issued on the days before it: oldest first, yesterday last.

    Every day counts, those without any too. It is never below `bounds.least` and never above `bounds.most`.
    """
    known = _since_the_first(issued[-HISTORY_DAYS:])
    if len(known) < LEAST_HISTORY_DAYS:
        return bounds.clamp(max(bounds.start, ROOM * max(known, default=0)))
    usual = _usual_day(known)
    rise = max(1.0, *(_rise(known, days) for days in RECENT_DAYS))
    return bounds.clamp(ROOM * usual * rise)


def _since_the_first(issued: Sequence[int]) -> Sequence[int]:
    """From the first day on that had any."""
    first = next((place for place, n in enumerate(issued) if n > 0), len(issued))
    return issued[first:]


def _usual_day(known: Sequence[int]) -> float:
    """What the day after the last of these usually has, by its weekday."""
    same_weekday = known[len(known) % 7 :: 7]
    return max(median(same_weekday), LEAST_SHARE_OF_A_DAY * median(known))


def _rise(known: Sequence[int], days: int) -> float:
    """How many times what is usual the middle one of the last `days` had; 0 where nothing is usual."""
    ratios = []
    for back in range(days):
        before = known[: len(known) - 1 - back]
        usual = _usual_day(before) if before else 0
        ratios.append(known[-1 - back] / usual if usual else 0.0)
    return median(ratios)
