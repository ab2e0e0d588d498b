"""Can two kinds of answers be told apart? A two-sample test, and classifiers that are trained to do it.

numpy alone. A classifier is judged on answers that it was not trained on, by the area under its ROC curve:
0.5 is guessing, 1 is knowing.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

FOLDS = 5
_RIDGE = 1.0
_STEPS = 12


def kolmogorov_smirnov(one: Numbers, other: Numbers) -> float:
    """The probability that two samples of one distribution lie as far apart as these (asymptotic p-value)."""
    places = np.concatenate([one, other])
    below_one = np.searchsorted(np.sort(one), places, side="right") / len(one)
    below_other = np.searchsorted(np.sort(other), places, side="right") / len(other)
    apart = float(np.abs(below_one - below_other).max())
    size = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    scaled = (size + 0.12 + 0.11 / size) * apart  # Stephens's correction for finite samples
    if scaled < 0.2:
        return 1.0  # the series below does not converge there, and this is its value to ten places
    terms = [(-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101)]
    return min(1.0, max(0.0, 2 * sum(terms)))


def area_under_curve(scores: Numbers, is_second: NDArray[np.bool_]) -> float:
    """How often one of the second kind has a higher score than one of the first; a tie counts a half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]
    second, first = int(is_second.sum()), int((~is_second).sum())
    return float((ranks[is_second].sum() - second * (second + 1) / 2) / (second * first))


def told_apart(one: Numbers, other: Numbers, chance: np.random.Generator) -> float:
    """The best area, 0.5 to 1, that any of our classifiers reaches. Samples are rows, features columns.

    A logistic regression over the features and their squares, and for each feature a step by its quantiles.
    """
    rows = np.vstack([one, other])
    is_second = np.arange(len(rows)) >= len(one)
    varying = rows[:, rows.std(axis=0) > 0]
    if varying.shape[1] == 0:
        return 0.5
    learners: list[Callable[[Numbers, NDArray[np.bool_], Numbers], Numbers]] = [_logistic, _steps]
    folds = chance.permutation(len(rows)) % FOLDS
    found = 0.5
    for learn in learners:
        scores = np.zeros(len(rows))
        for fold in range(FOLDS):
            test = folds == fold
            scores[test] = learn(varying[~test], is_second[~test], varying[test])
        found = max(found, area_under_curve(scores, is_second))
    return found


def highest_by_chance(samples: int) -> float:
    """The area that classifiers of two kinds alike, of so many samples each, stay under: four deviations."""
    return 0.5 + 4 * math.sqrt((2 * samples + 1) / (12 * samples**2))


def _logistic(rows: Numbers, is_second: NDArray[np.bool_], asked: Numbers) -> Numbers:
    """Scores of `asked` by ridge regression in the logistic model, fitted by Newton's method."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread == 0] = 1.0

    def features(of: Numbers) -> Numbers:
        scaled = np.clip((of - mean) / spread, -8, 8)
        return np.hstack([np.ones((len(of), 1)), scaled, scaled**2])

    inputs = features(rows)
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        guess = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        slope = inputs.T @ (is_second - guess) - _RIDGE * weights
        curve = (inputs * (guess * (1 - guess))[:, None]).T @ inputs + _RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(curve, slope)
    result: Numbers = features(asked) @ weights
    return result


def _steps(rows: Numbers, is_second: NDArray[np.bool_], asked: Numbers) -> Numbers:
    """Scores of `asked` by the single step, on one feature, that parts the training rows best."""
    best, feature, step, sign = 0.0, 0, 0.0, 1.0
    for column in range(rows.shape[1]):
        for limit in np.unique(np.quantile(rows[:, column], np.linspace(0.02, 0.98, 25))):
            above = rows[:, column] > limit
            gain = float(above[is_second].mean() - above[~is_second].mean())
            if abs(gain) > best:
                best, feature, step, sign = abs(gain), column, float(limit), math.copysign(1.0, gain)
    result: Numbers = sign * (asked[:, feature] > step).astype(np.float64)
    return result
