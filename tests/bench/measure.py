"""Measuring: our way and the limit by turns, their medians, whether a target holds, and where it is kept.

Runs alternate (ours, limit, ours, limit, …), so that whatever slows the machine slows both. A figure is
never given without its limit, and never without the run that it came from.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import NamedTuple

RUNS = 5
TOLERANCE = 0.05
"""How much a timed figure may miss its target by: two runs on a quiet machine differ by as much. Such a
one is said to be within it, and not to hold."""

HOLDS, MISSED = "yes", "no"

Run = Callable[[], float]
"""One run; returns its figure, in the measurement's unit."""


class Pair(NamedTuple):
    """What is measured, and what it is measured against."""

    ours: Run
    limit: Run


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of ours to the limit; `at_most` for what should be small.

    With `absolute`, the bound is on our figure itself, and counts as a ratio once the limit is known.
    """

    bound: float
    at_most: bool = False
    absolute: bool = False
    tolerance: float = TOLERANCE

    def ratio(self, limit: float) -> float:
        """The bound, as a ratio to `limit`."""
        return self.bound / limit if self.absolute else self.bound

    def is_met(self, value: float, limit: float, *, tolerance: float = 0) -> bool:
        """Whether `value` holds the target, or misses it by no more than that part of it."""
        bound, found = self.ratio(limit), value / limit
        return found <= bound * (1 + tolerance) if self.at_most else found >= bound * (1 - tolerance)

    def verdict(self, value: float, limit: float) -> str:
        """Whether the target holds, in words: `HOLDS`, `MISSED`, or that it misses within the tolerance."""
        if self.is_met(value, limit):
            return HOLDS
        if self.is_met(value, limit, tolerance=self.tolerance):
            return f"within {self.tolerance:.0%}"
        return MISSED


@dataclass(frozen=True)
class Measurement:
    """One row to be: its fixed name, and how to set up, run and judge it."""

    name: str
    unit: str
    against: str
    """What the limit is, in words."""
    target: Target
    prepare: Callable[[], AbstractContextManager[Pair]]
    """Sets up what the runs need, outside of any measured time."""
    runs: int = RUNS
    full: bool = False
    """Takes over half a minute: measured with `--full` only."""


@dataclass(frozen=True)
class Row:
    """A measured figure. `ratio` is value / limit; `target` is the bound on it.

    A target is a lower bound, but for sizes and times, which it bounds from above.
    """

    name: str
    value: float
    unit: str
    against: str
    limit: float
    ratio: float
    target: float
    verdict: str
    """Of `Target.verdict`."""


def measure(measurement: Measurement, on_run: Callable[[], None] = lambda: None) -> Row:
    """Set up, run both by turns, judge their medians. `on_run` is called after every single run."""
    ours: list[float] = []
    limits: list[float] = []
    with measurement.prepare() as pair:
        for _ in range(measurement.runs):
            for figures, run in ((ours, pair.ours), (limits, pair.limit)):
                figures.append(run())
                on_run()
    value, limit = median(ours), median(limits)
    return Row(
        name=measurement.name,
        value=_rounded(value),
        unit=measurement.unit,
        against=measurement.against,
        limit=_rounded(limit),
        ratio=_rounded(value / limit),
        target=_rounded(measurement.target.ratio(limit)),
        verdict=measurement.target.verdict(value, limit),
    )


def _rounded(figure: float) -> float:
    """Four digits: the rest is noise."""
    return float(f"{figure:.4g}")


def merge(path: Path, rows: Iterable[Row]) -> None:
    """Put `rows` into the list at `path`, each in place of the row of its name; others stay.

    The file is replaced as a whole: who reads it sees the old list or the new one.
    """
    known = {row["name"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    known |= {row.name: asdict(row) for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(list(known.values()), indent=2) + "\n")
    draft.replace(path)


def stored(path: Path) -> list[Row]:
    """The rows at `path`, in their order; none if there is no file. One of another form is left out: what it
    says was meant otherwise, and is to be measured anew.
    """
    rows = json.loads(path.read_text()) if path.exists() else []
    form = {field.name for field in fields(Row)}
    return [Row(**row) for row in rows if row.keys() == form]


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for README.md."""
    lines = [
        "| What | Measured | Against | Limit | Ratio | Target | Holds |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    lines += [
        f"| `{row.name}` | {readable(row.value)} {row.unit} | {row.against} | {readable(row.limit)} "
        f"| {row.ratio:.3g} | {row.target:.3g} | {row.verdict.replace(MISSED, f'**{MISSED}**')} |"
        for row in rows
    ]
    return "\n".join(lines)


def readable(figure: float) -> str:
    """With thousands apart, and decimals only where they matter."""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.4g}"
