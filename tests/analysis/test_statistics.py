"""Tests of the statistics against scipy and against simulated data."""

import math

import numpy as np
import pytest
from scipy import stats

from nlstm_jax.analysis.statistics import Estimate, estimate, format_estimate, holm, seeds_to_resolve, welch

FIRST = [3.31, 3.29, 3.36, 3.30]
SECOND = [3.22, 3.40, 3.18]


def test_estimate_is_scipys_one_sample_interval() -> None:
    result = estimate(FIRST)
    interval = stats.ttest_1samp(FIRST, 0.0).confidence_interval(0.95)
    assert result.value == pytest.approx(np.mean(FIRST), rel=1e-14)
    assert result.value - result.half_width == pytest.approx(interval.low, rel=1e-12)
    assert result.value + result.half_width == pytest.approx(interval.high, rel=1e-12)
    assert result.seeds == 4


def test_one_value_has_no_interval_and_none_no_estimate() -> None:
    assert estimate([2.5]) == Estimate(2.5, None, 1)
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_welch_is_scipys_for_unequal_variances(level) -> None:
    result = welch(FIRST, SECOND, level)
    reference = stats.ttest_ind(FIRST, SECOND, equal_var=False)
    interval = reference.confidence_interval(level)
    assert result.value - result.half_width == pytest.approx(interval.low, rel=1e-12)
    assert result.value + result.half_width == pytest.approx(interval.high, rel=1e-12)
    assert result.degrees == pytest.approx(reference.df, rel=1e-12)


def test_the_p_value_is_scipys() -> None:
    assert welch(FIRST, SECOND).p == pytest.approx(stats.ttest_ind(FIRST, SECOND, equal_var=False).pvalue, rel=1e-12)


def test_holm_rejects_what_the_steps_of_his_paper_reject() -> None:
    """Step by step: the smallest p against α/n, the next against α/(n − 1), until one is not below."""
    generator = np.random.default_rng(5)
    for _ in range(200):
        values = generator.beta(0.5, 3.0, 6).tolist()
        rejected = set()
        for rank, index in enumerate(np.argsort(values)):
            if values[index] >= 0.05 / (6 - rank):
                break
            rejected.add(int(index))
        assert {index for index, p in enumerate(holm(values)) if p < 0.05} == rejected
    assert holm([]) == []


def test_holm_errs_5_times_in_100_over_all_pairs() -> None:
    values = np.random.default_rng(6).uniform(size=(4000, 10)).tolist()
    assert np.mean([min(holm(each)) < 0.05 for each in values]) == pytest.approx(0.05, abs=0.0105)


def test_resolved_is_significant() -> None:
    far, near = welch(FIRST, [4.0, 4.1, 4.05]), welch(FIRST, SECOND)
    assert far.resolved
    assert stats.ttest_ind(FIRST, [4.0, 4.1, 4.05], equal_var=False).pvalue < 0.05
    assert not near.resolved
    assert stats.ttest_ind(FIRST, SECOND, equal_var=False).pvalue > 0.05


def test_no_interval_without_spread() -> None:
    assert welch([1.0], [1.0, 2.0]) is None
    assert welch([0.1, 0.1, 0.1], [0.3, 0.3, 0.3]) is None  # 0.1 + 0.1 + 0.1 is not 3 · 0.1 in floating point


def test_the_interval_holds_the_true_difference_95_times_in_100() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(1.0, 1.0, (4000, 3))
    second = generator.normal(0.0, 3.0, (4000, 6))
    results = (welch(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True))
    held = np.mean([abs(result.value - 1.0) <= result.half_width for result in results])
    # Three standard errors of 4000 draws; Welch is approximate, though hardly so here.
    assert held == pytest.approx(0.95, abs=0.012)


def test_seeds_to_resolve_is_the_number_that_meets_the_formula() -> None:
    count = seeds_to_resolve(FIRST, SECOND)
    a, b = np.var(FIRST, ddof=1), np.var(SECOND, ddof=1)
    difference = np.mean(FIRST) - np.mean(SECOND)

    def needed(n):
        degrees = (a + b) ** 2 / (a**2 + b**2) * (n - 1)
        return (stats.t.ppf(0.975, degrees) + stats.t.ppf(0.8, degrees)) ** 2 * (a + b) / difference**2

    assert needed(count) <= count
    assert needed(count - 1) > count - 1


def test_so_many_seeds_resolve_the_difference_8_times_in_10() -> None:
    spread = [-1.0, 1.0]  # a standard deviation of √2 in either group
    count = seeds_to_resolve(spread, [value + 1.5 for value in spread])
    generator = np.random.default_rng(1)
    first = generator.normal(0.0, math.sqrt(2), (20_000, count))
    second = generator.normal(1.5, math.sqrt(2), (20_000, count))
    power = np.mean(stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < 0.05)
    assert count == 15
    assert power == pytest.approx(0.8, abs=0.02)


def test_seeds_to_resolve_at_its_ends() -> None:
    assert seeds_to_resolve([1.0, 2.0], [1.0, 2.0]) is None
    assert seeds_to_resolve([1.0, 1.0], [2.0, 2.0]) == 2
    assert seeds_to_resolve([0.0, 1.0], [100.0, 101.0]) == 2
    # With so many, t is the normal distribution.
    many = seeds_to_resolve([-1.0, 1.0], [-0.99, 1.01])
    assert many == pytest.approx((1.959964 + 0.841621) ** 2 * 4 / 0.01**2, rel=1e-4)
    with pytest.raises(ValueError, match="at least two values"):
        seeds_to_resolve([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (5.31249, 0.0123, "5.312 ± 0.012"),
        (5.31249, 0.0083, "5.3125 ± 0.0083"),
        (203.46, 12.9, "203 ± 13"),
        (12345.6, 1234.5, "12,346 ± 1,234"),
        (5.31249, 0.0, "5.312 ± 0"),
        (5.31249, None, "5.312"),
        (0.0, None, "0"),
        (-0.00123456, None, "-0.001235"),
    ],
)
def test_written(value, half_width, text) -> None:
    assert format_estimate(value, half_width) == text


@pytest.mark.parametrize("count", [5, 10])
def test_t_intervals_cover_the_truth_as_often_as_they_say(count) -> None:
    draws = np.random.default_rng(0).normal(3.0, 0.2, (2000, count))
    estimates = [estimate(row.tolist()) for row in draws]
    covered = np.mean([abs(each.value - 3.0) <= each.half_width for each in estimates])
    assert 0.93 <= covered <= 0.97
