"""How a table of counts may leave: with noise drawn once, and without what is small. Pure.

The noise is the discrete Laplace distribution, P(x) proportional to exp(-|x| epsilon / sensitivity): a table
is then epsilon-differentially private for whoever changes it by no more than its sensitivity. It is drawn
from whole numbers alone (Canonne, Kamath, Steinke: "The Discrete Gaussian for Differential Privacy", 2020,
algorithms 1 and 2), for floating-point noise has gaps in it that give the count away (Mironov, 2012). What is
hidden is decided on the noisy number, so that hiding tells no more than the number would. Must never be
called twice for one table: the mean of two draws is better than either.
"""

import math
import secrets
from collections.abc import Callable, Mapping
from fractions import Fraction

EPSILON = Fraction(1, 2)
"""Of every table. One person is in seven at the most: three of codes, four of uploads."""
LEAST_SHOWN = 15
"""What is less is hidden, for ever. So far from 0 that noise alone gets there once in some 3,000 cells."""

RandomBelow = Callable[[int], int]
"""A whole number from 0 up to, and without, the given one; all alike."""
secrets_below: RandomBelow = secrets.randbelow


def release(
    cells: Mapping[str, int],
    *,
    sensitivity: int = 1,
    epsilon: Fraction = EPSILON,
    least: int = LEAST_SHOWN,
    random_below: RandomBelow = secrets_below,
) -> dict[str, int]:
    """What may be shown of a table; a cell that is not in the answer is hidden.

    `cells` must be all that there can be, 0 included: which are named must not depend on people.
    `sensitivity` is the most by which one person changes the sum of all cells' differences.
    """
    scale = sensitivity / epsilon
    noisy = {name: n + discrete_laplace(scale, random_below) for name, n in cells.items()}
    return without_small(noisy, least)


def without_small(cells: Mapping[str, int], least: int = LEAST_SHOWN) -> dict[str, int]:
    """The cells of at least `least`; and never all but one, which a total would give away: then the smallest
    of the others (of equals the last by name) is hidden with it."""
    shown = {name: n for name, n in cells.items() if n >= least}
    if len(cells) - len(shown) == 1 and shown:
        del shown[min(sorted(shown, reverse=True), key=lambda name: shown[name])]
    return shown


def discrete_laplace(scale: Fraction, random_below: RandomBelow = secrets_below) -> int:
    """A whole number x with P(x) proportional to exp(-|x| / scale)."""
    top, bottom = scale.numerator, scale.denominator
    while True:
        part = random_below(top)
        if not _happens(Fraction(part, top), random_below):
            continue
        whole = 0
        while _happens(Fraction(1), random_below):
            whole += 1
        size = (part + top * whole) // bottom
        is_negative = random_below(2) == 1
        # One of the two zeros is thrown back, or zero would come twice as often as it should.
        if size or not is_negative:
            return -size if is_negative else size


def width_of(share: Fraction, *, sensitivity: int = 1, epsilon: Fraction = EPSILON) -> int:
    """The least w for which so great a share of all noise lies from -w to w."""
    ratio = math.exp(-float(epsilon / sensitivity))
    width = 0
    while 1 - 2 * ratio ** (width + 1) / (1 + ratio) < share:
        width += 1
    return width


def _happens(rate: Fraction, random_below: RandomBelow) -> bool:
    """True with probability exp(-rate), for a rate from 0 to 1."""
    steps = 1
    while random_below(rate.denominator * steps) < rate.numerator:
        steps += 1
    return steps % 2 == 1
