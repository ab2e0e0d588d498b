"""How many of a batch's users are real, by what is published of the decoys: posteriors over every number.

With no more than the total and the policy this is the honest guess that nobody can be kept from. With an idea
of how real users differ from decoys, every user seen shifts it. Pure; floats, for nothing is decided by it.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.client.monitor.crowd import Feature, SeenBatch
from registry.protocol.decoys import ASSUMED_ONSET_DAYS
from registry.protocol.keys import ReportType
from registry.protocol.population import WHOLE, DecoyPolicy, NewestKey, PopulationModel

Posterior = Mapping[int, float]
"""Probability of each number of real users; they add up to 1."""

_NEVER_SEEN = 1e-5
"""Probability of what a population is said not to have: nobody knows one that well."""


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How often users of a population are seen with a report type and risk, a lag, an oldest key, a cut key.

    Taken as independent of each other. A key is cut in the first or the second half of the time gathered.
    """

    kinds: Mapping[tuple[ReportType, int], float]
    lags: Mapping[int | None, float]
    oldest: Mapping[int, float]
    cut: tuple[float, float]

    def of(self, feature: Feature) -> float:
        """Probability of a user who is seen so."""
        return (
            max(self.kinds.get((feature.report_type, feature.risk), 0.0), _NEVER_SEEN)
            * max(self.lags.get(feature.lag, 0.0), _NEVER_SEEN)
            * max(self.oldest.get(feature.oldest, 0.0), _NEVER_SEEN)
        )


def stated(model: PopulationModel) -> Frequencies:
    """The frequencies that a population model states."""
    kinds = {
        (ReportType(kind), risk): model.report_types.share(kind)
        * model.transmission_risk[ReportType(kind)].share(risk)
        for kind in model.report_types.weights
        for risk in model.transmission_risk[ReportType(kind)].weights
    }
    assumed = model.onset_not_given / WHOLE
    lags: dict[int | None, float] = {
        days: (1 - assumed) * model.onset_days_before_upload.share(days)
        for days in model.onset_days_before_upload.weights
    }
    lags[ASSUMED_ONSET_DAYS] = lags.get(ASSUMED_ONSET_DAYS, 0.0) + assumed
    oldest: Counter[int] = Counter()
    for newest, weight in model.newest_key.weights.items():
        for count, keys in model.daily_keys.weights.items():
            age = count if newest == NewestKey.YESTERDAY else count - 1
            oldest[age] += weight * keys
    del oldest[0]  # today's key alone: not in the file of the upload
    total = sum(oldest.values())
    shares = {age: share / total for age, share in oldest.items()}
    cut = model.newest_key.share(NewestKey.TODAY_CUT) / 2
    return Frequencies(kinds, lags, shares, (cut, cut))


def learned(batches: Sequence[SeenBatch]) -> Frequencies:
    """The frequencies in batches all of whose users are of one population. At least one must have a user."""
    features: Counter[Feature] = Counter()
    early = late = asked = 0
    for batch in batches:
        seen = batch.features()
        features += seen
        if batch.cut is not None:
            early, late, asked = early + batch.cut[0], late + batch.cut[1], asked + seen.total()
    total = features.total()
    kinds: Counter[tuple[ReportType, int]] = Counter()
    lags: Counter[int | None] = Counter()
    oldest: Counter[int] = Counter()
    for feature, count in features.items():
        kinds[feature.report_type, feature.risk] += count
        lags[feature.lag] += count
        oldest[feature.oldest] += count
    return Frequencies(
        {kind: count / total for kind, count in kinds.items()},
        {lag: count / total for lag, count in lags.items()},
        {age: count / total for age, count in oldest.items()},
        ((early + 1) / (asked + 3), (late + 1) / (asked + 3)),
    )


def by_policy(total: int, policy: DecoyPolicy, prior: Posterior | None = None) -> Posterior:
    """Of how many real users, if `total` users are there and nothing else is known.

    `prior` is what was believed before; without it every number is taken to be as likely as another. A total
    that the policy does not allow counts as the next one that it does; but where nobody is seen, nobody is.
    """
    if total == 0:
        return {0: 1.0}
    believed = _believed(total, policy, prior)
    weights = {
        real: share * policy.model.extra_users.share(max(total, policy.floor) - max(policy.floor, real))
        for real, share in believed.items()
    }
    whole = sum(weights.values())
    if whole == 0:
        return believed
    return {real: weight / whole for real, weight in weights.items()}


def likeness(batch: SeenBatch, real_users: Frequencies, decoy_users: Frequencies) -> float:
    """How much more likely the batch's users are if all are real than if all are decoys: log of the ratio."""
    pairs = _pairs(batch, real_users, decoy_users)
    return _log_likelihood(pairs, 1.0) - _log_likelihood(pairs, 0.0)


def by_likeness(
    batch: SeenBatch,
    policy: DecoyPolicy,
    real_users: Frequencies,
    decoy_users: Frequencies,
    prior: Posterior | None = None,
    *,
    total: int | None = None,
) -> Posterior:
    """`by_policy`, and by how much each user seen is like real ones and like decoys.

    `total` is how many users there are, if that is known better than by what is seen of them.
    """
    pairs = _pairs(batch, real_users, decoy_users)
    total = batch.features().total() if total is None else total
    start = by_policy(total, policy, prior)
    logs = {
        real: math.log(share) + _log_likelihood(pairs, min(1.0, real / max(1, total)))
        for real, share in start.items()
        if share > 0
    }
    highest = max(logs.values())
    weights = {real: math.exp(log - highest) for real, log in logs.items()}
    whole = sum(weights.values())
    return {real: weight / whole for real, weight in weights.items()}


def median(posterior: Posterior) -> float:
    """The least number that is reached with a probability of a half: the guess with the least mean error."""
    reached = 0.0
    for real in sorted(posterior):
        reached += posterior[real]
        if reached >= 0.5:
            return float(real)
    return float(max(posterior))


def _believed(total: int, policy: DecoyPolicy, prior: Posterior | None) -> Posterior:
    if prior is not None:
        return prior
    most = max(total, policy.floor)
    return dict.fromkeys(range(most + 1), 1 / (most + 1))


def _pairs(
    batch: SeenBatch, real_users: Frequencies, decoy_users: Frequencies
) -> list[tuple[float, float, int]]:
    """(probability if real, probability if decoy, how often) of all that is seen of the batch's users."""
    seen = batch.features()
    pairs = [(real_users.of(one), decoy_users.of(one), count) for one, count in seen.items()]
    if batch.cut is not None:
        pairs += zip(real_users.cut, decoy_users.cut, batch.cut, strict=True)
        whole = max(0, seen.total() - sum(batch.cut))
        pairs.append((1 - sum(real_users.cut), 1 - sum(decoy_users.cut), whole))
    return pairs


def _log_likelihood(pairs: Sequence[tuple[float, float, int]], share: float) -> float:
    return sum(
        count * math.log(max(share * real + (1 - share) * decoy, 1e-300)) for real, decoy, count in pairs
    )
