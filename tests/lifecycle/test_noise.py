"""What noise and hiding promise: the distribution to the letter, and nothing that a difference gives away."""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.noise import LEAST_SHOWN, discrete_laplace, release, width_of, without_small

DRAWS = 20_000
CHI_SQUARE_BOUND = 45.0
"""For 16 degrees of freedom it is passed once in some 7,000 times; the seeds are fixed."""

tables = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-40, 200), max_size=8)


def seeded(seed: int) -> Callable[[int], int]:
    return Random(seed).randrange  # a test repeats itself


@pytest.mark.parametrize(("scale", "seed"), [(Fraction(2), 1), (Fraction(1), 2), (Fraction(7, 3), 3)])
def test_the_noise_is_the_discrete_laplace_distribution(scale: Fraction, seed: int) -> None:
    below = seeded(seed)
    found = Counter(max(-8, min(8, discrete_laplace(scale, below))) for _ in range(DRAWS))
    ratio = math.exp(-1 / float(scale))
    rate = {x: (1 - ratio) / (1 + ratio) * ratio ** abs(x) for x in range(-7, 8)}
    tail = (1 - sum(rate.values())) / 2
    expected = {**rate, -8: tail, 8: tail}
    distance = sum((found[x] - DRAWS * p) ** 2 / (DRAWS * p) for x, p in expected.items())
    assert distance < CHI_SQUARE_BOUND
    assert len(expected) == 17, "and so 16 degrees of freedom"


def test_the_check_would_notice_a_wrong_scale_and_a_double_zero() -> None:
    below = seeded(4)
    found = Counter(discrete_laplace(Fraction(3, 2), below) for _ in range(DRAWS))
    ratio = math.exp(-1 / 2)
    zeros = DRAWS * (1 - ratio) / (1 + ratio)
    assert (found[0] - zeros) ** 2 / zeros > CHI_SQUARE_BOUND


def test_the_width_that_is_told_holds_what_it_says() -> None:
    below, width = seeded(5), width_of(Fraction(95, 100))
    within = sum(abs(discrete_laplace(Fraction(2), below)) <= width for _ in range(DRAWS))
    assert width == 6
    assert 0.95 <= within / DRAWS < 0.98


@given(tables)
def test_nothing_small_is_shown_and_nothing_is_changed(cells: dict[str, int]) -> None:
    shown = without_small(cells)
    assert all(n >= LEAST_SHOWN and cells[name] == n for name, n in shown.items())


@given(tables)
def test_a_total_never_gives_a_single_hidden_cell_away(cells: dict[str, int]) -> None:
    shown = without_small(cells)
    hidden = len(cells) - len(shown)
    assert hidden != 1 or len(cells) == 1
    # And no more is hidden than that takes: one cell at the most that is not small, the smallest of them.
    large = {name: n for name, n in cells.items() if n >= LEAST_SHOWN}
    besides = large.keys() - shown.keys()
    assert len(besides) <= 1
    assert all(large[name] == min(large.values()) for name in besides)


@given(tables, st.integers(0, 2**32))
def test_every_cell_has_noise_of_its_own_and_no_other_is_named(cells: dict[str, int], seed: int) -> None:
    generator, drawn = seeded(seed), [0]

    def below(bound: int) -> int:
        drawn[0] += 1
        return generator(bound)

    shown = release(cells, random_below=below)
    assert shown.keys() <= cells.keys()
    assert drawn[0] >= 3 * len(cells), "a part, a whole and a sign at least, of zeros and small ones too"


def test_a_cell_without_anybody_is_hardly_ever_shown() -> None:
    below = seeded(9)
    shown = sum("x" in release({"x": 0}, random_below=below) for _ in range(DRAWS))
    assert shown < DRAWS / 1000


def test_neighbouring_tables_are_told_apart_no_better_than_epsilon_allows() -> None:
    """One person more in a cell: no answer becomes likelier by more than exp(1/2)."""
    draws = 40_000
    answers = []
    for n, seed in ((30, 6), (31, 7)):
        below = seeded(seed)
        answers.append(Counter(release({"x": n}, random_below=below).get("x") for _ in range(draws)))
    common = [value for value in answers[0] if answers[0][value] > 1000 and answers[1][value] > 1000]
    assert len(common) >= 7
    for value in common:
        assert math.exp(-0.5) * 0.85 < answers[1][value] / answers[0][value] < math.exp(0.5) * 1.15
