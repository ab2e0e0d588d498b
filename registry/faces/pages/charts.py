"""Days as bars: what the charts of pages are drawn from, and the numbers of the tables beneath them.

Pure: numbers in, geometry out. The drawing itself is the template's, in the colours of its style sheet, so
that a chart is as readable in the dark as the text around it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

PLOT_HEIGHT = 100
"""Units of the drawing from the axis to its top."""
STEP = 10
"""Units of the drawing from one day to the next."""
MOST_DAYS = 60


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted, and how much of it on each day of the chart, the oldest first."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle in units of the drawing, from its upper left corner; `tip` is what it says."""

    x: float
    y: float
    width: float
    height: float
    series: int
    tip: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of days. `is_stacked`: series stand upon each other, else each stands before the next."""

    name: str
    title: str
    summary: str
    days: tuple[date, ...]
    series: tuple[Series, ...]
    show: Callable[[float], str]
    is_stacked: bool = True

    @property
    def top(self) -> float:
        """Value at the upper end of the axis."""
        columns = list(zip(*(one.values for one in self.series), strict=True))
        return round_up(max(((sum if self.is_stacked else max)(column) for column in columns), default=0))

    @property
    def width(self) -> int:
        """Units of the drawing from the first day to the last."""
        return max(1, len(self.days)) * STEP

    def bars(self) -> list[Bar]:
        """Every bar that is there to be seen."""
        found = []
        for place, day in enumerate(self.days):
            base = 0.0
            for number, one in enumerate(self.series):
                value = one.values[place]
                if value > 0:
                    top = base + value if self.is_stacked else value
                    found.append(self._bar(place, base, top, number, f"{day}: {one.name} {self.show(value)}"))
                base += value if self.is_stacked else 0
        return found

    def _bar(self, place: int, base: float, top: float, series: int, tip: str) -> Bar:
        scale = PLOT_HEIGHT / self.top
        inset = 1.5 if self.is_stacked or series == 0 else 3.0
        return Bar(
            x=round(place * STEP + inset, 2),
            y=round(PLOT_HEIGHT - top * scale, 2),
            width=round(STEP - 2 * inset, 2),
            height=round((top - base) * scale, 2),
            series=series,
            tip=tip,
        )

    def rows(self) -> list[tuple[date, list[str]]]:
        """The table: each day with its numbers, newest first."""
        numbers = zip(*(one.values for one in self.series), strict=True)
        rows = [(day, [self.show(n) for n in column]) for day, column in zip(self.days, numbers, strict=True)]
        return rows[::-1]


def round_up(value: float) -> float:
    """The least of 1, 2, 5, 10, 20, 50 ... that is not below `value`."""
    step = 1.0
    while True:
        for factor in (1, 2, 5):
            if step * factor >= value:
                return step * factor
        step *= 10


def days_to(last: date, first: date | None) -> tuple[date, ...]:
    """Every day from `first` to `last`, but no more than the newest `MOST_DAYS`."""
    if first is None or first > last:
        return ()
    count = min((last - first).days + 1, MOST_DAYS)
    return tuple(last - timedelta(days=back) for back in range(count - 1, -1, -1))


def by_day(days: Sequence[date], numbers: Iterable[tuple[date, float]]) -> dict[date, list[float]]:
    """The numbers of each of these days, in their order; other days' are left out."""
    found: dict[date, list[float]] = {day: [] for day in days}
    for day, number in numbers:
        if day in found:
            found[day].append(number)
    return found


def median(numbers: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle; 0 for none."""
    if not numbers:
        return 0
    ordered, middle = sorted(numbers), len(numbers) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
