"""The attacker at his best: he has learned from thousands of users of either kind what they look like.

And he knows the true total of a file and which numbers of people are asked about. Only the seed he lacks.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registry.client.monitor.count_patients import Method, Suspicions, count_patients
from registry.client.monitor.crowd import SeenBatch, metadata_of, see, traces_of, users_in
from registry.client.monitor.mixture import (
    Frequencies,
    Posterior,
    by_likeness,
    by_policy,
    learned,
    likeness,
    median,
)
from registry.protocol.export_file import ExportFile
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.population import DecoyPolicy
from tests.counting.crippled_decoys import Decoys
from tests.counting.one_window import as_people, decoys, real_people, seen
from tests.counting.real_world import World

INFORMED = "informed-likelihood"
"""Beside the shipped methods: population-likelihood, told the true total of users too."""
LIKENESS = "likeness"
"""And how much more the users seen are like real ones than like decoys; no estimate, but most sensitive."""
BITES = "methods-that-bite"
"""And how many of the methods that count copies or compare feeds find anything at all."""
LATE = "cut-late"
"""And how many more users cut a key short in the second half of the time gathered than in the first, in
standard errors."""
CONFIRMED = "confirmed-later"
"""And how many of the window's users come again as confirmed."""

SIGNS = (LIKENESS, BITES, LATE, CONFIRMED)
ESTIMATES = (*(method.word for method in Method), INFORMED)

TRAINING_WINDOWS, TRAINING_USERS = 40, 60


@dataclass(frozen=True)
class Asked:
    """A window that is asked about, by its end: its true total of users, and what else is known of them.

    `prior` is how likely each number of people is for such a window, `guess` the best by the policy alone.
    """

    end: int
    total: int
    prior: Posterior
    guess: float


class Attacker:
    """Trained on `world` and on `made` decoys, against `policy`."""

    def __init__(self, world: World, made: Decoys, policy: DecoyPolicy, chance: random.Random) -> None:
        self._policy = policy
        self._real = _learned_people(world)
        self._decoys = learned([self._seen_decoys(made, world, chance) for _ in range(TRAINING_WINDOWS)])

    @staticmethod
    def _seen_decoys(made: Decoys, world: World, chance: random.Random) -> SeenBatch:
        users = decoys(chance.randbytes(32), TRAINING_USERS, made.model)
        return seen(as_people(made.change(users, real_people(world, 3, chance), chance)))

    def guess(self, total: int, prior: Posterior) -> float:
        """What nobody can be kept from: by the true total and the policy alone."""
        return median(by_policy(total, self._policy, prior))

    def informed(self, window: SeenBatch, asked: Asked) -> float:
        """By all that is seen of the users, and their true total."""
        found = by_likeness(window, self._policy, self._real, self._decoys, asked.prior, total=asked.total)
        return median(found)

    def look(
        self, files: Sequence[ExportFile], others: Sequence[ExportFile], windows: Iterable[Asked]
    ) -> dict[int, dict[str, float]]:
        """What each method makes of each window, by its end; where one does not bite, what anybody knows.

        `files` are of one feed, or what one has and another lacks, `others` those of all feeds.
        """
        seen_windows = {window.window_end: window for window in see(files)}
        compared = {one.window_end: one.users for one in count_patients(others, self._policy)}
        counted = _Counted(files, self._policy, self._real, self._decoys)
        revised = [key for file in files for key in file.revised_keys]
        found = {}
        for asked in windows:
            if asked.end not in seen_windows:
                # Where nobody uploads and no decoy is drawn there is no file, and nobody to be counted.
                found[asked.end] = dict.fromkeys((*ESTIMATES, *SIGNS), 0.0)
                continue
            window = seen_windows[asked.end]
            users = dict(counted.by(asked.prior)[asked.end])
            users[Method.DIFFERENCES] = compared[asked.end][Method.DIFFERENCES]
            early, late = window.cut or (0, 0)
            found[asked.end] = {
                **{method.word: asked.guess if (n := users[method]) is None else n for method in Method},
                INFORMED: self.informed(window, asked),
                LIKENESS: likeness(window, self._real, self._decoys),
                BITES: sum(
                    users[method] is not None for method in (Method.MULTIPLICITIES, Method.DIFFERENCES)
                ),
                LATE: (late - early) / max(1, late + early) ** 0.5,
                CONFIRMED: _revised_users(window, revised, ReportType.CONFIRMED_TEST),
            }
        return found


_PEOPLE: dict[str, Frequencies] = {}
"""What was learned of the people of a world once."""


def _learned_people(world: World) -> Frequencies:
    name = repr(world)
    if name not in _PEOPLE:
        chance = random.Random(name)
        windows = [seen(real_people(world, TRAINING_USERS, chance)) for _ in range(TRAINING_WINDOWS)]
        _PEOPLE[name] = learned(windows)
    return _PEOPLE[name]


class _Counted:
    """The shipped methods' figures by window's end, for one prior after the other."""

    def __init__(
        self, files: Sequence[ExportFile], policy: DecoyPolicy, real: Frequencies, made: Frequencies
    ) -> None:
        self._files, self._policy, self._real, self._made = files, policy, real, made
        self._found: dict[int, dict[int, Mapping[Method, float | None]]] = {}

    def by(self, prior: Posterior) -> Mapping[int, Mapping[Method, float | None]]:
        """Counted anew for a prior that did not come yet."""
        if id(prior) not in self._found:
            suspicions = Suspicions(self._real, self._made, prior=prior)
            windows = count_patients(self._files, self._policy, suspicions)
            self._found[id(prior)] = {window.window_end: window.users for window in windows}
        return self._found[id(prior)]


def _revised_users(window: SeenBatch, revised: Sequence[TemporaryExposureKey], to: ReportType) -> int:
    """How many of the window's users come again as `to`, by the keys that they came with."""
    again = {key.key_data for key in revised if key.report_type == to}
    return users_in(traces_of(Counter(metadata_of(key) for key in window.keys if key.key_data in again)))
