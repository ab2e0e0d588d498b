"""Running campaigns slice by slice, and the campaigns there are.

A slice is small enough to lose and is known by its seed, which is all that its chance comes from.
"""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.record import Failure, Logbook, Record


@dataclass(frozen=True)
class Slice:
    """One part of a campaign to be run. What it writes lies in `folder`, its log in `log`."""

    seed: int
    size: int
    folder: Path

    @property
    def log(self) -> Path:
        """Where its output goes: the registry's, or pytest's."""
        return self.folder / "run.log"


@dataclass(frozen=True)
class Found:
    """What a slice found: how much it really did, and everything that must not be."""

    done: int
    failures: Sequence[str] = ()


@dataclass(frozen=True)
class Campaign:
    """`slices` runs of `run`, each of `size` of what `unit` names."""

    name: str
    unit: str
    slices: int
    size: int
    run: Callable[[Slice], Found]


def run_round(
    campaigns: Sequence[Campaign],
    logbook: Logbook,
    folder: Path,
    *,
    on_slice: Callable[[Campaign, Record, Sequence[Failure]], None] = lambda *_: None,
    new_seed: Callable[[], int] = lambda: random.SystemRandom().randrange(2**31),
) -> bool:
    """Run what this round still lacks, or a new round if it lacks nothing. Whether nothing failed in it."""
    logbook.open_round({campaign.name: campaign.slices for campaign in campaigns})
    for campaign in campaigns:
        record = logbook.at_work(campaign.name, new_seed())
        while record.slices_done < campaign.slices:
            began = time.monotonic()
            found, failures = run_slice(campaign, record.seed + record.slices_done, folder)
            record.slices_done += 1
            record.done += found.done
            record.seconds += time.monotonic() - began
            record.day = datetime.now(UTC).date().isoformat()
            record.failures += failures
            logbook.keep(campaign.name, record)
            on_slice(campaign, record, failures)
    return not any(logbook.records[campaign.name].failures for campaign in campaigns)


def run_slice(campaign: Campaign, seed: int, folder: Path) -> tuple[Found, list[Failure]]:
    """Run one slice from its seed. Its folder stays only if it failed."""
    place = folder / f"{campaign.name}-{seed}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    piece = Slice(seed, campaign.size, place)
    found = campaign.run(piece)
    if not found.failures:
        shutil.rmtree(place)
    return found, [Failure(seed, str(piece.log), what) for what in found.failures]
