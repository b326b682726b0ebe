"""Equivalence of two means within a margin, by two one-sided tests, and the number of seeds that it takes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtr, stdtrit

from nlstm_jax.analysis.statistics import LEVEL, POWER, paired, welch


class Equivalence(NamedTuple):
    """The result of two one-sided tests.

    Attributes:
        value: The difference of the means, first minus second.
        half_width: The half-width of the interval that must lie within the margin, e.g. a 90 % interval for two tests
            at 5 %.
        p: The larger p-value of the two tests.
        equivalent: True if both tests reject that the difference is as large as the margin.
    """

    value: float
    half_width: float
    p: float
    equivalent: bool


def two_one_sided_tests(
    first: Sequence[float],
    second: Sequence[float],
    margin: float,
    level: float = LEVEL,
    *,
    is_paired: bool = False,
) -> Equivalence | None:
    """Test whether two means differ by less than a margin, without assuming equal variances.

    Both tests are at 1 − `level`. The probability of a false equivalence is at most 1 − `level`, and is largest if the
    true difference equals the margin.

    D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).

    Args:
        first: The values of the first group.
        second: The values of the second group.
        margin: The margin, positive, in the unit of the values.
        level: One minus the level of each test.
        is_paired: True if the values at the same position are a pair.

    Returns:
        None if there is no interval: a group has one value, or there is no spread.

    Raises:
        ValueError: The margin is not positive.

    >>> two_one_sided_tests([1.0, 1.1, 0.9], [1.0, 1.05, 0.95], margin=0.5).equivalent
    True
    """
    _check_margin("two_one_sided_tests", margin)
    test = paired if is_paired else welch
    difference = test(first, second, 2 * level - 1)
    if difference is None:
        return None
    error = difference.half_width / float(stdtrit(difference.degrees, level))
    p = float(stdtr(difference.degrees, (abs(difference.value) - margin) / error))
    return Equivalence(difference.value, difference.half_width, p, p < 1 - level)


def seeds_for_equivalence(
    first: Sequence[float], second: Sequence[float], margin: float, level: float = LEVEL, power: float = POWER
) -> int:
    """Return the number of seeds each group needs to show equivalence with probability `power` if the means are equal.

    It is the smallest n with n ≥ (t[level, ν] + t[(1 + power)/2, ν])² (s₁² + s₂²) / margin². Here ν are Welch's
    degrees of freedom for n values in each group. The observed spreads are taken for the true ones, so the number is
    rough if there are few seeds.

    S.-C. Chow, J. Shao and H. Wang, "Sample Size Calculations in Clinical Research" (2nd edition 2008), 3.2.

    Args:
        first: The values of the first group.
        second: The values of the second group.
        margin: The margin, positive, in the unit of the values.
        level: One minus the level of each of the two tests.
        power: The probability with which equivalence should be shown.

    Raises:
        ValueError: The margin is not positive, or a group has fewer than two values and thus no spread.

    >>> seeds_for_equivalence([-1.0, 1.0], [-1.0, 1.0], margin=2.0)
    10
    """
    _check_margin("seeds_for_equivalence", margin)
    if min(len(first), len(second)) < 2:
        raise ValueError("seeds_for_equivalence: at least two values in each group expected")
    a = _variance(first)
    b = _variance(second)
    if a + b == 0:
        return 2
    ratio = (a + b) / margin**2
    freedom = (a + b) ** 2 / (a**2 + b**2)
    # Quantiles of t exceed those of the normal distribution, so the answer is this start or above it.
    count = max(2, math.floor((ndtri(level) + ndtri((1 + power) / 2)) ** 2 * ratio))
    while True:
        degrees = freedom * (count - 1)
        if count >= (stdtrit(degrees, level) + stdtrit(degrees, (1 + power) / 2)) ** 2 * ratio:
            return count
        count += 1


def _check_margin(function: str, margin: float) -> None:
    """Raise a ValueError unless the margin is positive."""
    if not margin > 0:
        raise ValueError(f"{function}: margin: a positive number expected, found {margin}")


def _variance(values: Sequence[float]) -> float:
    """Return the unbiased variance of at least two values."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
