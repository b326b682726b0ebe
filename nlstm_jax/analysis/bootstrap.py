"""The difference of two groups of runs with an interval over both seeds and examples."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from nlstm_jax.analysis.statistics import LEVEL, welch
from nlstm_jax.types import Float


class BootstrapDifference(NamedTuple):
    """A difference of two groups' means, first minus second, on examples that both groups were measured on.

    Attributes:
        value: The difference.
        half_width: The half-width of its interval, which covers other seeds and other examples.
        examples: The number of examples.
    """

    value: float
    half_width: float
    examples: int


def two_way_bootstrap(
    first: Float[np.ndarray, "S N"],
    second: Float[np.ndarray, "R N"],
    weights: Float[np.ndarray, "N"],
    *,
    level: float = LEVEL,
    draws: int = 4000,
    seed: int = 0,
) -> BootstrapDifference:
    """Return the difference of two groups with a bootstrap interval over seeds and examples.

    Seeds are resampled within each group. Examples are resampled once for both groups.

    The standard error is the standard deviation of the resampled differences. The interval is that error times the
    quantile of Student's t with Welch's degrees of freedom for the seeds, because few seeds show little of their
    spread. Of S seeds S − 1 are drawn at a time (J. N. K. Rao, C. F. J. Wu, "Resampling inference with complex survey
    data", Journal of the American Statistical Association 83, 1988), which makes the seeds' part of the variance
    unbiased. Seeds and examples are drawn independently of each other as in A. B. Owen, "The pigeonhole bootstrap",
    Annals of Applied Statistics 1 (2007).

    Args:
        first: The contribution of each example to the metric, one row per run of the first group. The unit is that
            of the metric, for example nats for a log-loss.
        second: The same for the second group.
        weights: The number of targets of each example.
        level: The confidence level of the interval.
        draws: The number of bootstrap draws.
        seed: The seed of the random generator.

    Raises:
        ValueError: A group has fewer than two runs, or neither group has any spread between its runs.

    >>> weights = np.array([4.0, 4.0, 2.0])                       # targets of 3 examples
    >>> first = np.array([[8.0, 4.0, 1.0], [8.4, 4.2, 1.0]])      # nats of 2 runs
    >>> second = np.array([[9.0, 5.0, 1.0], [9.2, 5.2, 1.2]])
    >>> difference = two_way_bootstrap(first, second, weights)
    >>> round(difference.value, 2), difference.half_width > 0, difference.examples
    (-0.2, True, 3)
    """
    welched = welch(_means(first, weights), _means(second, weights), level)
    if welched is None:
        raise ValueError("crossed: two runs or more in each group, which differ, expected")
    generator = np.random.default_rng(seed)
    sums = _resampled_sums(np.vstack([weights, first, second]), draws, generator)
    means = sums[:, 1:] / sums[:, :1]

    drawn = []
    for group in (means[:, : len(first)], means[:, len(first) :]):
        runs = group.shape[1]
        seeds = generator.multinomial(runs - 1, np.full(runs, 1 / runs), draws)
        drawn.append((group * seeds).sum(1) / (runs - 1))

    error = float(np.std(drawn[0] - drawn[1], ddof=1))
    return BootstrapDifference(welched.value, float(stdtrit(welched.degrees, (1 + level) / 2)) * error, weights.size)


def _resampled_sums(
    rows: Float[np.ndarray, "K N"], draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws K"]:
    """Draw N of N columns with replacement, and return the sum of every row over them, for each draw."""
    count = rows.shape[1]
    sums = np.empty((draws, len(rows)))
    for draw in range(draws):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        sums[draw] = rows @ times
    return sums


def _means(rows: Float[np.ndarray, "S N"], weights: Float[np.ndarray, "N"]) -> list[float]:
    """Return the metric of each run: the sum of its row divided by the number of targets."""
    total = math.fsum(weights)
    return [math.fsum(row) / total for row in rows]
