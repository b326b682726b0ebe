"""Means over seeds and differences of means with t-intervals, and the number of seeds that a difference needs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.95
"""The confidence level of all intervals."""

POWER = 0.80
"""The probability with which a difference should be resolved, for `seeds_to_resolve`."""


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        value: The mean.
        half_width: The half-width of the t-interval around it. None for a single seed, which has no interval.
        seeds: The number of values.
    """

    value: float
    half_width: float | None
    seeds: int


class Difference(NamedTuple):
    """A difference of two groups' means, first minus second.

    Attributes:
        value: The difference.
        half_width: The half-width of Welch's t-interval around it.
        degrees: The degrees of freedom, by Welch and Satterthwaite.
        p: The two-sided p-value: the probability of a difference at least as large if the true means are equal.
    """

    value: float
    half_width: float
    degrees: float
    p: float

    @property
    def resolved(self) -> bool:
        """True if the interval does not include 0."""
        return abs(self.value) > self.half_width


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the mean of independent values with its t-interval.

    Raises:
        ValueError: There are no values.

    >>> estimate([3.0])
    Estimate(value=3.0, half_width=None, seeds=1)
    """
    count = len(values)
    if count == 0:
        raise ValueError("estimate: at least one value expected, none found")
    if count == 1:
        return Estimate(float(values[0]), None, 1)
    half_width = _quantile(level, count - 1) * math.sqrt(_variance(values) / count)
    return Estimate(_mean(values), half_width, count)


def welch(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Difference | None:
    """Return the difference of two means with Welch's t-interval, which does not assume equal variances.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947).

    Returns:
        None if there is no interval: a group has one value, or neither group has any spread.

    >>> welch([1.0, 2.0], [4.0, 6.0]).degrees
    1.4705882352941178
    """
    return linear_contrast((first, second), (1, -1), level)


def linear_contrast(
    groups: Sequence[Sequence[float]], weights: Sequence[float], level: float = LEVEL
) -> Difference | None:
    """Return a weighted sum of means with a t-interval that does not assume equal variances.

    The degrees of freedom are those of Welch and Satterthwaite. With the weights 1 and −1 it is Welch's test.

    F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics Bulletin 2
    (1946).

    Args:
        groups: The values of each group.
        weights: The weight of each group's mean.
        level: The confidence level.

    Returns:
        None if there is no interval: a group has one value, or no group has any spread.

    >>> linear_contrast([[1.0, 3.0], [2.0, 4.0], [0.0, 2.0], [0.0, 2.0]], (1, -1, -1, 1)).value
    -1.0
    """
    if min(map(len, groups)) < 2:
        return None
    # The variance of each weighted mean.
    parts = [weight**2 * _variance(group) / len(group) for group, weight in zip(groups, weights, strict=True)]
    variance = math.fsum(parts)
    if variance == 0:
        return None
    shares = [part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True)]
    degrees = variance**2 / math.fsum(shares)
    value = math.fsum(weight * _mean(group) for weight, group in zip(weights, groups, strict=True))
    error = math.sqrt(variance)
    p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Difference(value, _quantile(level, degrees) * error, degrees, p)


def paired(first: Sequence[float], second: Sequence[float], level: float = LEVEL) -> Difference | None:
    """Return the mean difference of pairs with its t-interval, e.g. of runs that share seed and batches.

    Args:
        first: The values of the first group.
        second: The values of the second group. Those at the same position are a pair.
        level: The confidence level.

    Returns:
        None if there is no interval: there is one pair, or all differences are equal.

    Raises:
        ValueError: The groups are of unequal size.

    >>> paired([1.0, 2.0, 3.0], [0.0, 1.5, 1.5]).degrees
    2.0
    """
    if len(first) != len(second):
        raise ValueError(f"paired: groups of one size expected, found {len(first)} and {len(second)}")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if len(differences) < 2 or _variance(differences) == 0:
        return None
    degrees = float(len(differences) - 1)
    value = _mean(differences)
    error = math.sqrt(_variance(differences) / len(differences))
    p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Difference(value, _quantile(level, degrees) * error, degrees, p)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests, in the order of `values`.

    The probability that any true null hypothesis has a corrected p-value below α is at most α.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def seeds_to_resolve(
    first: Sequence[float], second: Sequence[float], level: float = LEVEL, power: float = POWER
) -> int | None:
    """Return the number of seeds each group needs to resolve the observed difference with probability `power`.

    It is the smallest n with n ≥ (t[(1 + level)/2, ν] + t[power, ν])² (s₁² + s₂²) / d². Here ν are Welch's degrees of
    freedom for n values in each group. This is the iteration of NIST/SEMATECH, e-Handbook of Statistical Methods,
    7.2.2.2, for two groups. The observed difference and spreads are taken for the true ones, so the number is rough
    if there are few seeds.

    Returns:
        None if the means are equal, because no number of seeds would resolve that.

    Raises:
        ValueError: A group has fewer than two values and thus no spread.

    >>> seeds_to_resolve([1.0, 2.0], [2.5, 3.5])
    5
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("seeds_to_resolve: at least two values in each group expected")
    a = _variance(first)
    b = _variance(second)
    difference = _mean(first) - _mean(second)
    if difference == 0:
        return None
    if a + b == 0:
        return 2
    ratio = (a + b) / difference**2
    freedom = (a + b) ** 2 / (a**2 + b**2)
    # Quantiles of t exceed those of the normal distribution, so the answer is this start or slightly above it.
    count = max(2, math.floor((ndtri((1 + level) / 2) + ndtri(power)) ** 2 * ratio))
    while True:
        degrees = freedom * (count - 1)
        if count >= (_quantile(level, degrees) + stdtrit(degrees, power)) ** 2 * ratio:
            return count
        count += 1


def format_estimate(value: float, half_width: float | None = None) -> str:
    """Return a number as text, with its half-width if there is one.

    The decimals show two significant digits of the half-width, or four of the number if there is no half-width.

    >>> format_estimate(5.31249, 0.0123), format_estimate(5.31249), format_estimate(20391.7)
    ('5.312 ± 0.012', '5.312', '20,392')
    """
    if half_width:
        decimals = _decimals(half_width, 2)
        return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}"
    text = f"{value:,.{_decimals(value, 4)}f}"
    if half_width is None:
        return text
    return f"{text} ± 0"


def _decimals(value: float, digits: int) -> int:
    """Return the number of decimals that show so many significant digits of a value, 8 at most."""
    if value == 0:
        return 0
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def _mean(values: Sequence[float]) -> float:
    """Return the mean of values."""
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Return the unbiased variance of at least two values."""
    if min(values) == max(values):
        # The rounded mean of equal values may differ from them.
        return 0.0
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _quantile(level: float, degrees: float) -> float:
    """Return the half-width of the two-sided interval in standard errors."""
    return float(stdtrit(degrees, (1 + level) / 2))
