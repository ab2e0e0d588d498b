"""`python -m tests.counting.revoked`: what it costs that decoys are revoked beside people who are.

Nobody is revoked alone: decoy users are, beside them. So who is revoked later was most likely a decoy of the
file that he came with, and a file of which few are revoked had few decoys. The attacker here knows how many
of a file's users are revoked in the eight days after it, and what share of decoys is.
"""

import math
import random
from collections import Counter
from dataclasses import dataclass
from statistics import fmean

import click

from registry.client.monitor.crowd import metadata_of, traces_of, users_in
from registry.client.monitor.mixture import Posterior, by_policy, median
from registry.protocol.keys import ReportType
from tests.counting.crippled_decoys import Decoys
from tests.counting.gate import deviation
from tests.counting.history import SETS, History, play
from tests.counting.one_window import POLICY
from tests.counting.real_world import World

DAYS = 8
"""By then whoever is revoked beside somebody has been."""


@dataclass(frozen=True)
class Seen:
    """A file's users, of whom `real` are people and `revoked` were revoked later."""

    real: int
    total: int
    revoked: int
    is_early: bool


def seen_in(history: History) -> list[Seen]:
    """All files that are old enough."""
    found = []
    latest = max(one.end for one in history.gathered)
    for place in SETS:
        files = history.files_of(place)
        revoked = {
            key.key_data
            for file in files
            for key in file.revised_keys
            if key.report_type == ReportType.REVOKED
        }
        keys = {file.end_timestamp: file.keys for file in files}
        for one in history.looked_at:
            if one.place == place and one.end < latest - DAYS * 86_400:
                again = Counter(metadata_of(key) for key in keys[one.end] if key.key_data in revoked)
                found.append(Seen(one.real, one.total, users_in(traces_of(again)), one.is_early))
    return found


def with_revoked(believed: Posterior, one: Seen, share: float) -> Posterior:
    """What is believed once it is known how many were revoked, each decoy with the probability `share`."""
    weights = {}
    for real, probability in believed.items():
        decoys = max(0, one.total - real)
        ways = math.comb(decoys, one.revoked)
        weights[real] = probability * ways * share**one.revoked * (1 - share) ** (decoys - one.revoked)
    whole = sum(weights.values())
    return {real: weight / whole for real, weight in weights.items()} if whole else believed


@click.command()
@click.option("--histories", default=4)
@click.option("--seed", default=300)
def main(histories: int, seed: int) -> None:
    """Print the share of decoys that are revoked, and mean errors in users without and with knowing it."""
    files = [
        one
        for number in range(histories)
        for one in seen_in(play(World(), Decoys(), slots=14, chance=random.Random(seed + number)))
    ]
    share = sum(one.revoked for one in files) / sum(one.total - one.real for one in files)
    priors = {early: Counter(one.real for one in files if one.is_early == early) for early in (False, True)}
    errors = []
    for one in files:
        numbers = priors[one.is_early]
        prior = {real: times / numbers.total() for real, times in sorted(numbers.items())}
        believed = by_policy(one.total, POLICY, prior)
        guesses = (median(believed), median(with_revoked(believed, one, share)))
        errors.append((one.real, *(abs(guess - one.real) for guess in guesses)))
    click.echo(f"{len(files)} files; revoked beside others: {share:.0%} of decoys")
    parts = {
        "all": errors,
        "fewer people than the floor": [one for one in errors if one[0] < POLICY.floor],
        "as many or more": [one for one in errors if one[0] >= POLICY.floor],
    }
    for name, part in parts.items():
        gain = deviation([alone - knowing for _, alone, knowing in part])
        alone, knowing = (fmean(one[column] for one in part) for column in (1, 2))
        click.echo(f"{name}: error {alone:.1f} by the policy, {knowing:.1f} knowing it ({gain:+.1f} s.e.)")


if __name__ == "__main__":
    main()
