"""Tests of the equivalence tests against scipy's one-sided tests and against simulated data."""

import numpy as np
import pytest
from scipy import stats

from nlstm_jax.analysis.equivalence import seeds_for_equivalence, two_one_sided_tests

FIRST = [3.31, 3.29, 3.36, 3.30]
SECOND = [3.28, 3.35, 3.30]


def shares_of_equivalent(difference: float, margin: float, seeds: int, spreads: tuple[float, float]) -> float:
    """Return how often equivalence is found among 4,000 simulated comparisons with a true difference."""
    generator = np.random.default_rng(0)
    first = generator.normal(difference, spreads[0], (4000, seeds)).tolist()
    second = generator.normal(0.0, spreads[1], (4000, seeds)).tolist()
    results = (two_one_sided_tests(a, b, margin) for a, b in zip(first, second, strict=True))
    return float(np.mean([result.equivalent for result in results]))


@pytest.mark.parametrize("margin", [0.02, 0.1, 1.0])
def test_the_p_value_is_the_larger_of_scipys_one_sided_tests(margin) -> None:
    shifted_up = np.array(FIRST) + margin
    shifted_down = np.array(FIRST) - margin
    above = stats.ttest_ind(shifted_up, SECOND, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(shifted_down, SECOND, equal_var=False, alternative="less").pvalue
    assert two_one_sided_tests(FIRST, SECOND, margin).p == pytest.approx(max(above, below), rel=1e-9)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.08, 0.1, 0.2])
def test_equivalent_means_that_the_90_percent_interval_lies_within_the_margin(margin) -> None:
    result = two_one_sided_tests(FIRST, SECOND, margin)
    interval = stats.ttest_ind(FIRST, SECOND, equal_var=False).confidence_interval(0.9)
    assert result.equivalent == (-margin < interval.low and interval.high < margin)
    assert result.value + result.half_width == pytest.approx(interval.high, rel=1e-12)


@pytest.mark.parametrize("spreads", [(1.0, 1.0), (0.5, 1.5)])
def test_false_equivalence_at_the_margin_is_at_most_5_percent(spreads) -> None:
    # Three standard errors of 4,000 draws are 1 percentage point. The margin leaves the test power.
    share = shares_of_equivalent(difference=3.0, margin=3.0, seeds=6, spreads=spreads)
    assert 0.03 < share <= 0.06
    assert shares_of_equivalent(difference=0.0, margin=3.0, seeds=6, spreads=spreads) > 0.9


def test_so_many_seeds_show_equivalence_8_times_in_10() -> None:
    spread = [-(0.5**0.5), 0.5**0.5]  # a standard deviation of 1
    count = seeds_for_equivalence(spread, spread, margin=1.0)
    assert shares_of_equivalent(0.0, 1.0, count, (1.0, 1.0)) == pytest.approx(0.8, abs=0.025)


def test_without_spread_there_is_no_test() -> None:
    assert two_one_sided_tests([1.0], [1.0, 2.0], 0.1) is None
    assert two_one_sided_tests([1.0, 1.0], [2.0, 2.0], 0.1) is None
    assert seeds_for_equivalence([1.0, 1.0], [2.0, 2.0], 0.1) == 2


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="margin: a positive number expected, found 0"):
        two_one_sided_tests(FIRST, SECOND, 0)
    with pytest.raises(ValueError, match="at least two values in each group"):
        seeds_for_equivalence([1.0], SECOND, 0.1)
