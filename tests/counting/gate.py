"""The gate: what the attacker finds in our files must not beat the files' total and the published policy.

A trial is one window: so many real people, decoys by the policy, the files of two feeds and a later file
with the keys that were still embargoed and those that were revised. It is held against two things. First
against the best guess from the true total and the policy alone (`Trial.by_policy`): if content says nothing,
no guess has a smaller mean error. Then, far more sensitive, against its twin: files of as many users, all of
them real. Whatever a method makes of a file must be, on average, what it makes of the twin.

The attacker knows everything but the seed: it has learned from thousands of users of either kind what they
look like, and which numbers of people are asked about. Nothing else happens in the windows: no other people's
keys blur what it sees.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from registry.client.monitor.count_patients import Method, Suspicions, count_patients
from registry.client.monitor.crowd import SeenBatch, see
from registry.client.monitor.mixture import by_likeness, by_policy, learned, likeness, median
from registry.protocol.decoys import decoy_count, draw_decoys, window_intervals
from registry.protocol.export_file import ExportFile
from registry.protocol.population import DecoyPolicy
from tests.counting.real_world import Person, World, export, people

COUNTS = (0, 1, 2, 3, 6, 12, 50)
"""Real people in a window; the attacker knows that it is one of these, each as likely."""

PRIOR = dict.fromkeys(COUNTS, 1 / len(COUNTS))
POLICY = DecoyPolicy()
REGIONS = ("XA", "XA-01")
END = 1_781_524_800
"""2026-06-15T12:00:00Z, the end of a four-hour slot."""
START = END - 4 * 3600
LATER = END + 8 * 86_400
"""By then every key is out and every revision has happened."""

INFORMED = "informed-likelihood"
"""Beside the shipped methods: population-likelihood, told the true total of users too."""
LIKENESS = "likeness"
"""And how much more the users seen are like real ones than like decoys; no estimate, but most sensitive."""
BITES = "methods-that-bite"
"""And how many of the methods that count copies or compare feeds find anything at all."""

ESTIMATES = (*(method.word for method in Method), INFORMED)
NAMES = (*ESTIMATES, LIKENESS, BITES)

MOST_DEVIATION = 4.5
"""Standard errors. With 90 comparisons of honest files, one in 1,600 campaigns goes beyond by chance."""

TRAINING_WINDOWS, TRAINING_USERS = 40, 60

Draw = Callable[[bytes, int, Sequence[Person], random.Random], list[Person]]
"""From a seed, how many, the real people and chance to decoy users. Only crippled ones use the last two."""


def honest(policy: DecoyPolicy) -> Draw:
    """The decoys that the registry draws."""

    def draw(seed: bytes, count: int, _real: Sequence[Person], _chance: random.Random) -> list[Person]:
        users = draw_decoys(
            seed, count, regions=REGIONS, uploaded=window_intervals(START, END), model=policy.model
        )
        return [
            Person(user.keys, user.revision.keys, user.revision.at) if user.revision else Person(user.keys)
            for user in users
        ]

    return draw


@dataclass(frozen=True)
class Trial:
    """One window. `found` and `twin` are what each method makes of it and of as many real people."""

    real: int
    total: int
    by_policy: float
    found: dict[str, float]
    twin: dict[str, float]


class Gate:
    """The attacker, trained on `world` and `draw`, and the trials it is put to."""

    def __init__(self, world: World, draw: Draw, policy: DecoyPolicy, chance: random.Random) -> None:
        self._world, self._draw, self._policy = world, draw, policy
        trained = range(TRAINING_WINDOWS)
        self._real = learned([_seen(self._people(TRAINING_USERS, chance)) for _ in trained])
        self._decoys = learned([_seen(self._trained_decoys(chance)) for _ in trained])
        self._suspicions = Suspicions(self._real, self._decoys, prior=PRIOR)

    def trial(self, real: int, chance: random.Random) -> Trial:
        """One window with `real` people."""
        persons = self._people(real, chance)
        seed = chance.randbytes(32)
        count = decoy_count(seed, REGIONS, real, self._policy)
        users = [*persons, *self._draw(seed, count, persons, chance)]
        total = real + count
        guess = median(by_policy(total, self._policy, PRIOR))
        found = self._attack(users, guess)
        return Trial(real, total, guess, found, self._attack(self._people(total, chance), guess))

    def _attack(self, users: Sequence[Person], guess: float) -> dict[str, float]:
        """What each method finds in these users' files; where one does not bite, what anybody knows."""
        files = files_of(users)
        counted = count_patients(files, self._policy, self._suspicions)
        first, later = counted[0].users, counted[-1].users
        found = {method.word: n for method in Method if (n := first[method]) is not None}
        found[Method.REVISED.word] = later[Method.REVISED] or 0.0
        window = see(files)[0]
        found[INFORMED] = median(
            by_likeness(window, self._policy, self._real, self._decoys, PRIOR, total=len(users))
        )
        found[LIKENESS] = likeness(window, self._real, self._decoys)
        found[BITES] = sum(first[one] is not None for one in (Method.MULTIPLICITIES, Method.DIFFERENCES))
        return {name: found.get(name, guess) for name in NAMES}

    def _people(self, count: int, chance: random.Random) -> list[Person]:
        return people(self._world, count, chance, start=START, end=END)

    def _trained_decoys(self, chance: random.Random) -> list[Person]:
        return self._draw(chance.randbytes(32), TRAINING_USERS, self._people(3, chance), chance)


def files_of(users: Iterable[Person]) -> list[ExportFile]:
    """The window's file in each feed, and the later one."""
    users = list(users)
    keys = [key for user in users for key in user.keys]
    files = [export(keys, start=START, end=END, region=region) for region in REGIONS]
    out = set(files[0].keys)
    rest = [key for key in keys if key not in out]
    revised = [key for user in users for key in user.revised if user.revised_at * 600 < LATER]
    return [*files, export(rest, start=END, end=LATER, revised=revised)]


def _seen(users: Iterable[Person]) -> SeenBatch:
    return see(files_of(users))[0]


@dataclass(frozen=True)
class Verdict:
    """What came of the trials. `errors` are mean errors in users by method, `policy` that of the policy."""

    policy: float
    errors: dict[str, float]
    failures: list[str]
    """Each a method that knows more than it may, with how surely."""


def verdict(trials: Sequence[Trial]) -> Verdict:
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
    for real in (None, *sorted({trial.real for trial in trials})):
        alike = [trial for trial in trials if real is None or trial.real == real]
        for name in NAMES:
            away = deviation([trial.found[name] - trial.twin[name] for trial in alike])
            if abs(away) > MOST_DEVIATION:
                people_in = "decoys among" if real is None else f"decoys beside {real}"
                failures.append(f"{name}: {people_in} real users show, {away:+.1f} standard errors")
    return Verdict(fmean(by_policy_alone), errors, failures)


def deviation(differences: Sequence[float]) -> float:
    """Their mean in standard errors of it."""
    spread = stdev(differences)
    if spread == 0:
        return 0.0 if differences[0] == 0 else math.copysign(math.inf, differences[0])
    return fmean(differences) / spread * math.sqrt(len(differences))


def run(
    world: World, policy: DecoyPolicy, *, trials: int, seed: int, draw: Draw | None = None
) -> list[Trial]:
    """`trials` of each of `COUNTS`, all chance from `seed`."""
    chance = random.Random(seed)
    gate = Gate(world, draw or honest(policy), policy, chance)
    return [gate.trial(real, chance) for real in COUNTS for _ in range(trials)]
