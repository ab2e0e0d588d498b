"""What is known of each campaign, in a file that outlives interruptions: how far it got, what failed.

A round runs every campaign once. Stopped in the middle, it goes on with the next slice; the figures of the
round before stay until a campaign's first slice of the new one is through.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """What went wrong, and what it takes to see it again."""

    seed: int
    log: str
    what: str


@dataclass
class Record:
    """How far a campaign got in a round. `done` counts what it counts: kills, examples."""

    round: int
    seed: int
    slices_done: int = 0
    done: int = 0
    seconds: float = 0.0
    day: str = ""
    """UTC day of the latest slice."""
    failures: list[Failure] = field(default_factory=list)


class Logbook:
    """The records by campaign, and the number of the round. Written after every slice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = json.loads(path.read_text()) if path.exists() else {"round": 1, "records": {}}
        self.round: int = kept["round"]
        self.records: dict[str, Record] = {
            name: Record(**{**record, "failures": [Failure(**one) for one in record["failures"]]})
            for name, record in kept["records"].items()
        }

    def open_round(self, slices: Mapping[str, int]) -> None:
        """Begin a new round if all of these campaigns (name → slices) are through with this one."""
        if all(self.slices_left(name, count) == 0 for name, count in slices.items()):
            self.round += 1

    def slices_left(self, name: str, slices: int) -> int:
        """How many of the campaign's slices this round still lacks."""
        record = self.records.get(name)
        return slices - record.slices_done if record and record.round == self.round else slices

    def at_work(self, name: str, new_seed: int) -> Record:
        """The campaign's record in this round; a new one with `new_seed` if it has not begun."""
        record = self.records.get(name)
        return record if record and record.round == self.round else Record(self.round, new_seed)

    def keep(self, name: str, record: Record) -> None:
        """Write the record down. A crash before this repeats the slice."""
        self.records[name] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"round": self.round, "records": {n: asdict(r) for n, r in self.records.items()}}
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self.path)


def as_markdown(records: Mapping[str, Record], units: Mapping[str, str]) -> str:
    """The last figures of each campaign, for README.md."""
    lines = ["| Campaign | Size | Failures | Seconds | Day (UTC) |", "|---|---:|---:|---:|---|"]
    lines += [" | ".join(cells).join(("| ", " |")) for cells in figures(records, units)]
    return "\n".join(lines)


def figures(records: Mapping[str, Record], units: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
    """Campaign, size, failures, seconds and day, as text."""
    for name, unit in units.items():
        if record := records.get(name):
            size = f"{record.done:,} {unit}"
            yield (name, size, str(len(record.failures)), f"{record.seconds:,.0f}", record.day)
