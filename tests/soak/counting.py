"""Campaigns of the attacker who counts patients: against our decoys, and against other systems' padding."""

import random

from registry.client.monitor.count_patients import count_patients
from tests.counting.attacker import INFORMED
from tests.counting.copied_padding import COPYING, are_copied_enough, are_told_apart, file, in_file
from tests.counting.gate import run, verdict
from tests.counting.one_window import COUNTS, POLICY
from tests.counting.real_world import World
from tests.soak.campaigns import Campaign, Found, Slice

TRIALS = 200
"""Windows of each number of real users."""


def _decoys(piece: Slice) -> Found:
    trials = run(World(), POLICY, trials=piece.size // len(COUNTS), seed=piece.seed)
    found = verdict(trials)
    piece.log.write_text(
        f"mean error by the policy {found.policy:.2f}, by content {found.errors[INFORMED]:.2f}\n{found}\n"
    )
    return Found(len(trials), found.failures)


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
    Campaign("count_patients", "windows with decoys", 5, TRIALS * len(COUNTS), _decoys),
    Campaign("count_copies", "windows with copied metadata", 1, TRIALS * len(COUNTS), _copies),
)
