"""What tells answers apart finds what is planted, and nothing where there is nothing."""

import numpy as np
import pytest

from tests.soak.distinguishing import (
    area_under_curve,
    highest_by_chance,
    kolmogorov_smirnov,
    told_apart,
)

CHANCE = np.random.default_rng(20261201)


def test_the_two_sample_test_agrees_with_tables_and_with_chance() -> None:
    one, other = np.arange(100.0), np.arange(100.0) + 0.5
    assert kolmogorov_smirnov(one, other) == 1.0
    # The table's critical distance of two samples of 100 at 5 % is 1.358 * sqrt(2 / 100) = 0.192.
    assert kolmogorov_smirnov(one, one + 18) > 0.05 > kolmogorov_smirnov(one, one + 20)
    below = [kolmogorov_smirnov(CHANCE.normal(size=300), CHANCE.normal(size=300)) < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(below) < 0.08
    assert kolmogorov_smirnov(CHANCE.normal(size=2000), CHANCE.normal(0.3, size=2000)) < 1e-4


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    scores = np.array([1.0, 2.0, 2.0, 3.0])
    assert area_under_curve(scores, np.array([False, False, True, True])) == (1 + 1 + 0.5 + 1) / 4
    assert area_under_curve(-scores, np.array([False, False, True, True])) == 0.125
    assert area_under_curve(np.ones(4), np.array([False, True, False, True])) == 0.5


def test_two_alike_are_not_told_apart() -> None:
    one, other = CHANCE.gamma(2, size=(2000, 3)), CHANCE.gamma(2, size=(2000, 3))
    assert told_apart(one, other, CHANCE) < highest_by_chance(2000) < 0.55
    assert told_apart(np.ones((50, 2)), np.ones((50, 2)), CHANCE) == 0.5


@pytest.mark.parametrize("planted", ["a byte", "a shift", "a spread", "rare slowness"])
def test_a_planted_difference_is_found(planted: str) -> None:
    one, other = CHANCE.normal(size=(1000, 3)), CHANCE.normal(size=(1000, 3))
    if planted == "a byte":
        one[:, 1], other[:, 1] = 4352, 4353
    elif planted == "a shift":
        other[:, 0] += 0.4
    elif planted == "a spread":
        other[:, 2] *= 1.6
    else:
        other[CHANCE.random(1000) < 0.15, 0] += 300
    assert told_apart(one, other, CHANCE) > 0.55
