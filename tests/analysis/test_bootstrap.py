"""Tests of the two-way bootstrap against variances known by formula."""

import math

import numpy as np
import pytest
from scipy.stats import t

from nlstm_jax.analysis.bootstrap import two_way_bootstrap

WEIGHTS = np.full(400, 5.0)


def group(generator, seeds, mean=0.0, by_seed=0.0, by_example=None, noise=0.0):
    """Return the sums of every example in each run of a group, about `mean` per target."""
    shape = (seeds, WEIGHTS.size)
    rows = mean + generator.normal(0, by_seed, (seeds, 1)) + noise * generator.normal(size=shape)
    return WEIGHTS * (rows + (0.0 if by_example is None else by_example))


def error_of(found, degrees):
    return found.half_width / t.ppf(0.975, degrees)


def test_what_is_hard_for_both_cancels() -> None:
    """Examples differ far more than runs do, but in the same way for all runs."""
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 50.0, WEIGHTS.size)
    first = group(generator, 6, mean=-0.3, by_seed=0.1, by_example=hard)
    second = group(generator, 6, by_seed=0.1, by_example=hard)
    found = two_way_bootstrap(first, second, WEIGHTS)
    means = [rows.sum(1) / WEIGHTS.sum() for rows in (first, second)]
    assert found.value == pytest.approx(means[0].mean() - means[1].mean(), abs=1e-9)
    assert found.examples == WEIGHTS.size
    variances = [each.var(ddof=1) / 6 for each in means]
    degrees = sum(variances) ** 2 / sum(each**2 / 5 for each in variances)
    assert error_of(found, degrees) == pytest.approx(math.sqrt(sum(variances)), rel=0.05)


def test_examples_on_which_models_differ_widen_the_interval() -> None:
    generator = np.random.default_rng(1)
    difference = generator.normal(0, 4.0, WEIGHTS.size)
    first = group(generator, 8, by_seed=0.05, by_example=difference)
    second = group(generator, 8, by_seed=0.05)
    found = two_way_bootstrap(first, second, WEIGHTS)
    means = [rows.sum(1) / WEIGHTS.sum() for rows in (first, second)]
    seeds = sum(each.var(ddof=1) / 8 for each in means)
    variances = [each.var(ddof=1) / 8 for each in means]
    degrees = sum(variances) ** 2 / sum(each**2 / 7 for each in variances)
    expected = math.sqrt(seeds + difference.var(ddof=1) / WEIGHTS.size)
    assert error_of(found, degrees) == pytest.approx(expected, rel=0.06)


@pytest.mark.slow
def test_the_interval_covers_the_true_difference() -> None:
    """The interval is computed 300 times on other seeds and other examples."""
    generator = np.random.default_rng(2)
    inside = 0
    for _ in range(300):
        difference = generator.normal(0, 1.5, WEIGHTS.size)
        first = group(generator, 5, mean=0.2, by_seed=0.1, by_example=difference)
        second = group(generator, 5, by_seed=0.1)
        found = two_way_bootstrap(first, second, WEIGHTS, draws=500)
        inside += abs(found.value - 0.2) <= found.half_width
    assert 0.93 <= inside / 300 <= 0.99


def test_longer_examples_count_more() -> None:
    weights = np.array([1.0, 3.0])
    first, second = np.array([[2.0, 3.0], [2.0, 3.3]]), np.array([[1.0, 3.0], [1.0, 3.3]])
    assert two_way_bootstrap(first, second, weights).value == pytest.approx(0.25)


def test_one_seed_has_no_interval() -> None:
    rows = np.ones((1, 400))
    with pytest.raises(ValueError, match="two runs or more in each group"):
        two_way_bootstrap(rows, rows, WEIGHTS)
