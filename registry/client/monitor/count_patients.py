"""The attacker: how many real people are in these export files? Every published method, and the best guess.

Shipped so that anybody can see how much a registry's files tell. Works on decoded files alone, and says what
each method rests on: where that is not so, its figure is wrong. Methods: copied metadata and its multiples
(exposure-notifications-server, cwa-server), keys linked by their onset, fakes that differ between feeds or
runs, a known number of fakes a day (SwissCovid), people who are not like the decoys.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from registry.client.monitor.crowd import Metadata, SeenBatch, metadata_of, see, traces_of, users_in
from registry.client.monitor.mixture import (
    Frequencies,
    Posterior,
    by_likeness,
    by_policy,
    median,
    stated,
)
from registry.protocol.export_file import ExportFile
from registry.protocol.intervals import INTERVALS_PER_DAY
from registry.protocol.population import DecoyPolicy

_FEWEST_COPIES = 3
"""Twice may be chance; each exactly twice, or everything three times and more, is not."""


class Method(Enum):
    """A way to count, and what it rests on."""

    MULTIPLICITIES = (
        "equal-multiplicities",
        "padding that copies the metadata of real keys equally often: what divides the counts of all kinds",
    )
    CLASSES = (
        "metadata-classes",
        "a person's keys having one onset, report type and risk, and being one a day; counts decoys too",
    )
    DIFFERENCES = (
        "feed-differences",
        "padding made for each feed or each run: only real keys stand in all of them",
    )
    PADDING = ("known-padding", "a known number of padding keys a day: what the busiest day holds beyond it")
    POLICY = ("policy", "the number of all users and the published policy of decoys, nothing else")
    LIKELIHOOD = (
        "population-likelihood",
        "how like the suspected real users each one is, or the published decoys; else the same as the policy",
    )
    REVISED = (
        "revised-together",
        "keys revised in one window being those of few people; counts users revised, decoys too",
    )

    @property
    def word(self) -> str:
        """For programs."""
        return self.value[0]

    @property
    def rests_on(self) -> str:
        """For people."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class WindowCount:
    """How many real users each method finds in the window [start, end), unix seconds; None for nothing.

    `best` is what an attacker would believe, found by the method `by`.
    """

    window_start: int
    window_end: int
    users: Mapping[Method, float | None]
    best: float
    by: Method

    @property
    def is_given_away(self) -> bool:
        """Whether the files themselves tell padding from people."""
        return self.by in (Method.MULTIPLICITIES, Method.DIFFERENCES)


@dataclass(frozen=True, slots=True)
class Suspicions:
    """What an attacker brings along. None of it is needed.

    `real_users` is what real users are taken to look like, `decoy_users` what decoys do, if not as published;
    `padding` a number of keys a day known to be made up; `prior` how many people are expected.
    """

    real_users: Frequencies | None = None
    decoy_users: Frequencies | None = None
    padding: int | None = None
    prior: Posterior | None = None


def count_patients(
    files: Sequence[ExportFile], policy: DecoyPolicy, suspicions: Suspicions | None = None
) -> list[WindowCount]:
    """Count by every method, window by window, oldest first.

    Files of several feeds, regenerations and later windows all help: name whatever is at hand.
    """
    return [_Window(batch, policy, suspicions or Suspicions()).count() for batch in see(files)]


class _Window:
    """One window's batch under every method."""

    def __init__(self, batch: SeenBatch, policy: DecoyPolicy, suspicions: Suspicions) -> None:
        self._batch = batch
        self._policy = policy
        self._suspicions = suspicions
        self._fresh = batch.fresh(batch.classes())
        self._total = users_in(traces_of(self._fresh))

    def count(self) -> WindowCount:
        """By every method."""
        ways: dict[Method, Callable[[], float | None]] = {
            Method.MULTIPLICITIES: lambda: users_by_copies(self._batch),
            Method.CLASSES: lambda: self._total,
            Method.DIFFERENCES: lambda: users_by_differences(self._batch),
            Method.PADDING: self._padding,
            Method.POLICY: lambda: median(by_policy(self._total, self._policy, self._suspicions.prior)),
            Method.LIKELIHOOD: self._likelihood,
            Method.REVISED: lambda: users_in(traces_of(Counter(map(metadata_of, self._batch.revised)))),
        }
        users = {method: way() for method, way in ways.items()}
        by = self._most_telling(users)
        best = users[by] or 0.0
        return WindowCount(self._batch.window_start, self._batch.window_end, users, best, by)

    def _most_telling(self, users: Mapping[Method, float | None]) -> Method:
        """What no honest decoy policy leaves behind goes first, likelihood last."""
        differing = users[Method.DIFFERENCES]
        # Feeds may differ for good reason, but then what they share holds decoy users of its own.
        if differing is not None and (_was_made_anew(self._batch) or differing < self._policy.floor):
            return Method.DIFFERENCES
        if self._suspicions.padding is not None:
            return Method.PADDING
        return Method.LIKELIHOOD if users[Method.MULTIPLICITIES] is None else Method.MULTIPLICITIES

    def _padding(self) -> float:
        padding = self._policy.floor if self._suspicions.padding is None else self._suspicions.padding
        days: Counter[int] = Counter()
        for (start, *_), count in self._fresh.items():
            days[start // INTERVALS_PER_DAY] += count
        return max(0, max(days.values(), default=0) - padding)

    def _likelihood(self) -> float:
        published = stated(self._policy.model)
        real = self._suspicions.real_users or published
        decoys = self._suspicions.decoy_users or published
        return median(by_likeness(self._batch, self._policy, real, decoys, self._suspicions.prior))


def users_by_copies(batch: SeenBatch) -> int | None:
    """How many users there are, if every real key of the window was copied equally often; None if not."""
    real = real_keys_of_copies(batch.classes())
    return None if real is None else users_in(traces_of(batch.fresh(real)))


def real_keys_of_copies(classes: Mapping[Metadata, int]) -> dict[Metadata, int] | None:
    """How many real keys there are of each kind, if all were copied equally often; None if they were not.

    Round-robin over k real keys makes each of them q or q + 1, q the whole part of all by k: so a kind that m
    real keys share has from m·q to m·(q + 1). The largest q that fits all kinds is believed: with a smaller
    one, several people would have to agree in everything.
    """
    total = sum(classes.values())
    for copies in range(min(classes.values(), default=0), 1, -1):
        shares = {kind: (-(-n // (copies + 1)), n // copies) for kind, n in classes.items()}
        if any(least > most for least, most in shares.values()):
            continue
        fewest = max(sum(least for least, _ in shares.values()), total // (copies + 1) + 1)
        most = min(sum(most for _, most in shares.values()), total // copies)
        is_exact = all(n % copies == 0 for n in classes.values())
        if fewest <= most and (is_exact or copies >= _FEWEST_COPIES):
            # As many real keys of each kind as come nearest to its share. Kinds of which the number is sure
            # say how many copies there are of each key on average.
            sure = {kind: most for kind, (least, most) in shares.items() if least == most}
            known = sum(classes[kind] for kind in sure) / max(1, sum(sure.values()))
            each = total / most if is_exact else known or copies + 0.5
            return {
                kind: min(max(round(n / each), least), high)
                for (kind, n), (least, high) in zip(classes.items(), shares.values(), strict=True)
            }
    return None


def users_by_differences(batch: SeenBatch) -> int | None:
    """How many users are in every feed, or in every making, of the window; None if all hold the same keys."""
    if _was_made_anew(batch):
        made = [one for feed in batch.feeds.values() for one in feed if len(feed) > 1]
    else:
        made = [feed[0] for feed in batch.feeds.values()]
    lasting = frozenset.intersection(*made)
    if not lasting or all(one == lasting for one in made):
        return None
    shared = Counter(metadata_of(key) for key in batch.keys if key.key_data in lasting)
    return users_in(traces_of(batch.fresh(shared)))


def _was_made_anew(batch: SeenBatch) -> bool:
    return any(len(feed) > 1 for feed in batch.feeds.values())
