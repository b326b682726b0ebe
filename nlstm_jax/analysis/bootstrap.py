"""A difference of two groups that is uncertain twice: by the seeds of the runs, and by the examples measured on."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from nlstm_jax.analysis.statistics import LEVEL, welch
from nlstm_jax.types import Float


class Crossed(NamedTuple):
    """The difference of two groups' means, first minus second, on examples that both were measured on.

    Attributes:
        value: the difference.
        half_width: of its interval, for other seeds and other examples.
        examples: how many there were.
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
) -> Crossed:
    """Draw seeds anew within each group, and examples anew for both groups at once.

    The standard error is the spread of the differences so drawn; the interval reaches as many of them as Student's t
    with Welch's degrees of freedom for the seeds says, as few seeds show little of their spread. Of S seeds S − 1 are
    drawn at a time (J. N. K. Rao, C. F. J. Wu, "Resampling inference with complex survey data", Journal of the
    American Statistical Association 83, 1988), which makes the seeds' part of the variance unbiased. That seeds and
    examples are drawn apart is A. B. Owen's "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).

    Args:
        first, second: of each run, a row, what each example adds to the metric, a log-loss in nats say.
        weights: how many targets each example has.
        level: of the interval.
        draws: how many.
        seed: of the draws.

    Raises:
        ValueError: a group of fewer than two runs, or no spread between the runs of either.
    """
    welched = welch(_means(first, weights), _means(second, weights), level)
    if welched is None:
        raise ValueError("crossed: two runs or more in each group, which differ, expected")
    generator = np.random.default_rng(seed)
    count = weights.size
    examples = generator.multinomial(count, np.full(count, 1 / count), draws).astype(float)
    targets = examples @ weights
    drawn = []
    for rows in (first, second):
        means = examples @ rows.T / targets[:, None]
        seeds = generator.multinomial(len(rows) - 1, np.full(len(rows), 1 / len(rows)), draws)
        drawn.append((means * seeds).sum(1) / (len(rows) - 1))
    error = float(np.std(drawn[0] - drawn[1], ddof=1))
    return Crossed(welched.value, float(stdtrit(welched.degrees, (1 + level) / 2)) * error, count)


def _means(rows: Float[np.ndarray, "S N"], weights: Float[np.ndarray, "N"]) -> list[float]:
    total = math.fsum(weights)
    return [math.fsum(row) / total for row in rows]
