"""Campaigns of the attacker who counts patients: against our decoys, and against other systems' padding."""

import random

from registry.client.monitor.count_patients import count_patients
from tests.counting.attacker import INFORMED
from tests.counting.copied_padding import COPYING, are_copied_enough, are_told_apart, file, in_file
from tests.counting.gate import run, verdict
from tests.counting.history import SETS
from tests.counting.one_window import COUNTS, POLICY
from tests.counting.real_world import World
from tests.soak.campaigns import Campaign, Found, Slice

TRIALS = 200
"""Slots of each number of real users, half of them in each of two places."""

HISTORIES = 4
"""Registries that these are played in, 30 days in each: nothing is retired there."""


def _decoys(piece: Slice) -> Found:
    """All of them are judged together: what shows in two hundred may not show in fifty."""
    slots = piece.size // len(COUNTS) // len(SETS) // HISTORIES
    chance = random.Random(piece.seed)
    trials = [
        trial for _ in range(HISTORIES) for trial in run(World(), slots=slots, seed=chance.randrange(2**31))
    ]
    found = verdict(trials)
    piece.log.write_text(
        f"mean error by the policy {found.policy:.2f}, by content {found.errors[INFORMED]:.2f}\n{found}\n"
    )
    return Found(slots * HISTORIES * len(SETS) * len(COUNTS), found.failures)


def _copies(piece: Slice) -> Found:
    """Exactly as many people as there are, where no two are alike in everything and copies are enough."""
    done, failures = 0, []
    chance = random.Random(piece.seed)
    while done < piece.size:
        real = COUNTS[done % len(COUNTS)]
        keys = in_file(real, chance)
        for padding, pad in COPYING.items():
            padded = pad(keys, chance)
            (counted,) = count_patients([file(padded)], POLICY)
            is_known = are_told_apart(keys) and are_copied_enough(keys, padded)
            if is_known and counted.best != real:
                failures.append(f"{padding}: {counted.best} for {real}, by {counted.by.word}")
        done += 1
    return Found(done, failures)


CAMPAIGNS = (
    Campaign("count_patients", "slots with decoys", 1, TRIALS * len(COUNTS), _decoys),
    Campaign("count_copies", "windows with copied metadata", 1, TRIALS * len(COUNTS), _copies),
)
