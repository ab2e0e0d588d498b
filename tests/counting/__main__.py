"""`python -m tests.counting`: what it costs that real people are not as the published model says. A table.

The figures in docs/decisions/0008 come from it. The attacker knows both populations exactly, and the total.
"""

import click

from tests.counting.gate import COUNTS, INFORMED, POLICY, Trial, run
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


def errors(trials: list[Trial], method: str | None) -> list[float]:
    """Mean error in users for each of `COUNTS`: by the policy alone, or by a method."""
    found = []
    for real in COUNTS:
        off = [
            abs((trial.by_policy if method is None else trial.found[method]) - real)
            for trial in trials
            if trial.real == real
        ]
        found.append(sum(off) / len(off))
    return found


@click.command()
@click.option("--trials", default=200, help="Windows of each number of real users.")
@click.option("--seed", default=1)
def main(trials: int, seed: int) -> None:
    """Print the table."""
    click.echo(f"| Real people | {' | '.join(map(str, COUNTS))} | all |")
    click.echo("|---|" + "---:|" * (len(COUNTS) + 1))
    for name, world in WORLDS.items():
        played = run(world, POLICY, trials=trials, seed=seed)
        for label, method in (("by the policy", None), (name, INFORMED)):
            if method is None and world != World():
                continue
            means = errors(played, method)
            cells = [f"{mean:.1f}" for mean in (*means, sum(means) / len(means))]
            click.echo(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
