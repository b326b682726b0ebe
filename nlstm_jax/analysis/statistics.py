"""Means over seeds and differences of means, with t-intervals; how many seeds a difference would take."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.95
POWER = 0.80


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        value: the mean.
        half_width: of the t-interval around it; None where one seed leaves none.
        seeds: how many values there were.
    """

    value: float
    half_width: float | None
    seeds: int


class Difference(NamedTuple):
    """The difference of two groups' means, first minus second.

    Attributes:
        value: the difference.
        half_width: of Welch's t-interval around it.
        degrees: of freedom, by Welch and Satterthwaite.
        p: the probability of a difference as large if there were none.
    """

    value: float
    half_width: float
    degrees: float
    p: float

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.value) > self.half_width


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean and t-interval of independent values.

    Raises:
        ValueError: no values.

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
    """Difference of two means with Welch's t-interval, which assumes no equal variances.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34 (1947).

    Returns:
        None where there is no interval: a group of one value, or no spread in either group.

    >>> welch([1.0, 2.0], [4.0, 6.0]).degrees
    1.4705882352941178
    """
    if min(len(first), len(second)) < 2:
        return None
    a, b = _variance(first) / len(first), _variance(second) / len(second)
    if a + b == 0:
        return None
    degrees = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    value, error = _mean(first) - _mean(second), math.sqrt(a + b)
    p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Difference(value, _quantile(level, degrees) * error, degrees, p)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for being so many: any of them below α then errs with probability α in all.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def seeds_to_resolve(
    first: Sequence[float], second: Sequence[float], level: float = LEVEL, power: float = POWER
) -> int | None:
    """How many seeds each group needs for the difference seen now to be resolved with probability `power`.

    The smallest n with n ≥ (t[(1 + level)/2, ν] + t[power, ν])² (s₁² + s₂²) / d², where ν are Welch's degrees of
    freedom for n values each: the iteration of NIST/SEMATECH, e-Handbook of Statistical Methods, 7.2.2.2, for two
    groups. It takes difference and spreads for the true ones, so from few seeds it is a rough number.

    Returns:
        None where the means are equal: no number would do.

    Raises:
        ValueError: a group of fewer than two values, which has no spread.

    >>> seeds_to_resolve([1.0, 2.0], [2.5, 3.5])
    5
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("seeds_to_resolve: at least two values in each group expected")
    a, b = _variance(first), _variance(second)
    difference = _mean(first) - _mean(second)
    if difference == 0:
        return None
    if a + b == 0:
        return 2
    ratio = (a + b) / difference**2
    freedom = (a + b) ** 2 / (a**2 + b**2)
    # Quantiles of t exceed the normal's: the answer is not below this start, and only a few above it.
    count = max(2, math.floor((ndtri((1 + level) / 2) + ndtri(power)) ** 2 * ratio))
    while True:
        degrees = freedom * (count - 1)
        if count >= (_quantile(level, degrees) + stdtrit(degrees, power)) ** 2 * ratio:
            return count
        count += 1


def format_estimate(value: float, half_width: float | None = None) -> str:
    """A number as text: two significant digits of its half-width decide the decimals, else four of its own.

    >>> format_estimate(5.31249, 0.0123), format_estimate(5.31249), format_estimate(20391.7)
    ('5.312 ± 0.012', '5.312', '20,392')
    """
    if half_width:
        decimals = _decimals(half_width, 2)
        return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}"
    return f"{value:,.{_decimals(value, 4)}f}" + ("" if half_width is None else " ± 0")


def _decimals(value: float, digits: int) -> int:
    if value == 0:
        return 0
    return min(8, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    if min(values) == max(values):  # their rounded mean may differ from them
        return 0.0
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _quantile(level: float, degrees: float) -> float:
    """How many standard errors the two-sided interval reaches."""
    return float(stdtrit(degrees, (1 + level) / 2))
