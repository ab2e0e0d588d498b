"""`python -m tests.counting`: what it costs that real people are not as the published model says. A table.

The figures in docs/decisions/0008 come from it. The attacker knows both populations exactly, and the total.
Each window is made in an instant and by itself (`one_window`): what is asked here is the content of decoys
and not their publishing, which the gate is for.
"""

import random
from statistics import fmean

import click

from registry.protocol.decoys import decoy_count
from tests.counting.attacker import Asked, Attacker
from tests.counting.crippled_decoys import Decoys
from tests.counting.one_window import COUNTS, END, POLICY, PRIOR, REGIONS, real_people, seen, with_decoys
from tests.counting.real_world import World

WORLDS = {
    "as the model says": World(),
    "onset: mean of 6 days in place of 4.2": World(onset_shape=3.0, onset_scale=2.0),
    "onset: spread of 4.2 days in place of 2.4": World(onset_shape=1.0, onset_scale=4.2),
    "onset never unknown, in place of 20 %": World(onset_unknown=0.0),
    "today's key cut short: 60 % in place of 30": World(cut_today=0.6),
    "fourteen keys: 60 % in place of 85": World(fourteen_keys=0.6),
    "clinical diagnoses: 20 % in place of 2.5": World(
        tests={"confirmed": 0.795, "likely": 0.2, "user-report": 0.005}
    ),
    "the first of these and the last three together": World(
        onset_scale=2.0,
        cut_today=0.6,
        fourteen_keys=0.6,
        tests={"confirmed": 0.795, "likely": 0.2, "user-report": 0.005},
    ),
}
"""Real worlds, each beside the published model."""


Errors = dict[int, list[float]]
"""How far the guesses are from the number of real people, by it."""


def play(world: World, *, trials: int, seed: int) -> tuple[Errors, Errors]:
    """Windows with `trials` of each of `COUNTS`: errors by the policy alone, and of the attacker."""
    chance = random.Random(seed)
    attacker = Attacker(world, Decoys(), POLICY, chance)
    by_policy: Errors = {}
    informed: Errors = {}
    for real in COUNTS:
        for _ in range(trials):
            seed_of_batch = chance.randbytes(32)
            count = decoy_count(seed_of_batch, REGIONS, real, POLICY)
            users = with_decoys(real_people(world, real, chance), count, seed_of_batch)
            asked = Asked(END, len(users), PRIOR, attacker.guess(len(users), PRIOR))
            by_policy.setdefault(real, []).append(abs(asked.guess - real))
            informed.setdefault(real, []).append(abs(attacker.informed(seen(users), asked) - real))
    return by_policy, informed


@click.command()
@click.option("--trials", default=200, help="Windows of each number of real users.")
@click.option("--seed", default=1)
def main(trials: int, seed: int) -> None:
    """Print the table."""
    click.echo(f"| Real people | {' | '.join(map(str, COUNTS))} | all |")
    click.echo("|---|" + "---:|" * (len(COUNTS) + 1))
    for name, world in WORLDS.items():
        by_policy, informed = play(world, trials=trials, seed=seed)
        for label, errors in (("by the policy", by_policy), (name, informed)):
            if errors is by_policy and world != World():
                continue
            means = [fmean(errors[real]) for real in COUNTS]
            click.echo(f"| {label} | {' | '.join(f'{mean:.1f}' for mean in (*means, fmean(means)))} |")


if __name__ == "__main__":
    main()
