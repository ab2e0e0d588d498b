"""The gate: what the attacker finds in our files must not beat the files' total and the published policy.

A trial is one file of a registry that publishes as in production, with days of history in it (`history`): so
many people uploaded for it, decoys by the policy. It is held against two things. First against the best guess
from the true total and the policy alone (`Trial.by_policy`): if content says nothing, no guess has a smaller
mean error. Then, far more sensitive, against its twin: the same file with as many users, all of them real.
Whatever a method makes of a file must be, on average, what it makes of the twin. And the totals must be what
the policy says: never below the floor, and above it by the published draw.

The attacker knows everything but the seed (`attacker`). Revisions are held against the twin only where a
user is confirmed: those who are revoked beside others, so that no one person is, are decoys by design.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from registry.client.monitor.count_patients import Method
from registry.client.monitor.mixture import Posterior
from registry.protocol.decoys import decoy_count
from registry.protocol.export_file import ExportFile
from registry.protocol.population import WHOLE, DecoyPolicy
from tests.counting.attacker import ESTIMATES, SIGNS, Asked, Attacker
from tests.counting.crippled_decoys import Decoys
from tests.counting.history import NATION, SETS, Gathered, History, play, twin_of
from tests.counting.one_window import COUNTS, END, POLICY, PRIOR, REGIONS, as_people, files_of, real_people
from tests.counting.one_window import decoys as decoys_of
from tests.counting.real_world import World

EXCESS = "total-beyond-floor"
"""How many users there are beyond max(floor, real), in place of which the twin has a published draw."""

NAMES = (
    *(name for name in ESTIMATES if name != Method.REVISED.word),
    *SIGNS,
    EXCESS,
)

MOST_DEVIATION = 4.5
"""Standard errors. With 120 comparisons of honest files, one in 1,200 campaigns goes beyond by chance."""

FEWEST = 10
"""Trials of one number of people that say anything about it by themselves."""


@dataclass(frozen=True)
class Trial:
    """One file. `asked` people came in its slot, `real` of them count in it.

    `found` and `twin` are what each method makes of it and of as many real people.
    """

    asked: int
    real: int
    total: int
    by_policy: float
    found: dict[str, float]
    twin: dict[str, float]


def run(world: World, *, slots: int, seed: int, decoys: Decoys | None = None) -> list[Trial]:
    """Files of `slots` slots of each of `COUNTS` in each of two places, all chance from `seed`."""
    chance = random.Random(seed)
    made = decoys or Decoys()
    attacker = Attacker(world, made, POLICY, chance)
    history = play(world, made, slots=slots, chance=chance)
    twin = twin_of(history, world, chance)
    return [trial for place in SETS for trial in _trials(attacker, place, history, twin, chance)]


def run_alone(
    world: World,
    *,
    trials: int,
    seed: int,
    decoys: Decoys | None = None,
    counts: Sequence[int] = COUNTS,
) -> list[Trial]:
    """`trials` windows of each of `counts`, each by itself and without a publisher: for what decoys are."""
    chance = random.Random(seed)
    made = decoys or Decoys()
    attacker = Attacker(world, made, POLICY, chance)
    return [_alone(attacker, made, world, real, chance) for real in counts for _ in range(trials)]


def _alone(attacker: Attacker, made: Decoys, world: World, real: int, chance: random.Random) -> Trial:
    people = real_people(world, real, chance)
    seed = chance.randbytes(32)
    count = decoy_count(seed, REGIONS, real, POLICY)
    drawn = made.change(decoys_of(seed, count, made.model), people, chance)
    total = real + count
    asked = Asked(END, total, PRIOR, attacker.guess(total, PRIOR))
    users = ([*people, *as_people(drawn)], real_people(world, total, chance))
    found, twin = (attacker.look(files := files_of(one), files, [asked])[END] for one in users)
    return Trial(real, real, total, asked.guess, found | {EXCESS: 0.0}, twin | {EXCESS: 0.0})


def _trials(
    attacker: Attacker, place: str, history: History, twin: History, chance: random.Random
) -> list[Trial]:
    files = [one for one in history.looked_at if one.place == place]
    priors = {
        is_early: _prior(one for one in files if one.is_early == is_early) for is_early in (False, True)
    }
    asked = [
        Asked(one.end, one.total, prior := priors[one.is_early], attacker.guess(one.total, prior))
        for one in files
    ]
    found, of_twin = (
        attacker.look(one.files_of(place), _beside(one, place), asked) for one in (history, twin)
    )
    extra = POLICY.model.extra_users
    return [
        Trial(
            one.asked,
            one.real,
            one.total,
            about.guess,
            found[one.end] | {EXCESS: one.total - max(POLICY.floor, one.real)},
            of_twin[one.end] | {EXCESS: extra.at(chance.randrange(WHOLE))},
        )
        for one, about in zip(files, asked, strict=True)
    ]


def _beside(history: History, place: str) -> list[ExportFile]:
    """What a place's files are compared with: the nation's feed beside the province's."""
    if place == NATION:
        return history.files_of(place)
    return [*history.files[place], *history.files[NATION]]


def _prior(files: Iterable[Gathered]) -> Posterior:
    """How often each number of people is in such files: the attacker knows that too."""
    numbers = Counter(one.real for one in files)
    return {real: times / numbers.total() for real, times in sorted(numbers.items())}


@dataclass(frozen=True)
class Verdict:
    """What came of the trials. `errors` are mean errors in users by method, `policy` that of the policy."""

    policy: float
    errors: dict[str, float]
    failures: list[str]
    """Each a method that knows more than it may, with how surely."""


def verdict(trials: Sequence[Trial], policy: DecoyPolicy = POLICY) -> Verdict:
    """Whether content says anything. Deviations are in standard errors, paired trial by trial."""
    failures = []
    errors = {}
    by_policy_alone = [abs(trial.by_policy - trial.real) for trial in trials]
    for name in ESTIMATES:
        off = [abs(trial.found[name] - trial.real) for trial in trials]
        errors[name] = fmean(off)
        gain = [alone - with_content for alone, with_content in zip(by_policy_alone, off, strict=True)]
        if deviation(gain) > MOST_DEVIATION:
            failures.append(f"{name}: closer than the policy by {fmean(gain):.2f} users on average")
    short = [trial for trial in trials if trial.total < policy.floor]
    if short:
        failures.append(f"{len(short)} of {len(trials)} files hold fewer users than the floor")
    for asked in (None, *sorted({trial.asked for trial in trials})):
        alike = [trial for trial in trials if asked is None or trial.asked == asked]
        for name in NAMES if len(alike) >= FEWEST else ():
            away = deviation([trial.found[name] - trial.twin[name] for trial in alike])
            if abs(away) > MOST_DEVIATION:
                people_in = "decoys among" if asked is None else f"decoys in slots of {asked}"
                failures.append(f"{name}: {people_in} real users show, {away:+.1f} standard errors")
    return Verdict(fmean(by_policy_alone), errors, failures)


def deviation(differences: Sequence[float]) -> float:
    """Their mean in standard errors of it."""
    spread = stdev(differences)
    if spread == 0:
        return 0.0 if differences[0] == 0 else math.copysign(math.inf, differences[0])
    return fmean(differences) / spread * math.sqrt(len(differences))
