"""Tests of the log-rank test against scipy, a published example, and simulated data."""

import numpy as np
import pytest
from scipy import stats

from nlstm_jax.analysis.survival import log_rank

TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TREATED_EVENTS = [True] * 9 + [False] * 12
CONTROL = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
"""Weeks of remission, Freireich et al. 1963. The published log-rank statistic is 16.79, with 19.25 expected."""


def censored(times, events) -> stats.CensoredData:
    return stats.CensoredData.right_censored(np.asarray(times, float), ~np.asarray(events, bool))


def test_the_published_example() -> None:
    result = log_rank(TREATED, CONTROL, TREATED_EVENTS, [True] * 21)
    assert result.statistic**2 == pytest.approx(16.79, abs=0.005)
    assert result.observed == 9
    assert result.expected == pytest.approx(19.25, abs=0.005)
    assert result.statistic < 0


def test_it_is_scipys_with_ties_and_censored_times() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        first = generator.integers(1, 15, 12)
        second = generator.integers(1, 20, 9)
        first_events = generator.random(12) < 0.7
        second_events = generator.random(9) < 0.7
        result = log_rank(first, second, first_events, second_events)
        reference = stats.logrank(censored(first, first_events), censored(second, second_events))
        assert abs(result.statistic) == pytest.approx(abs(reference.statistic), rel=1e-9)
        assert result.p == pytest.approx(reference.pvalue, rel=1e-9)


def test_it_errs_5_times_in_100_on_equal_groups() -> None:
    generator = np.random.default_rng(2)
    times = generator.exponential(1.0, (1000, 40))
    results = []
    for row in times:
        events = row < 1.5
        observed = np.minimum(row, 1.5)
        results.append(log_rank(observed[:20], observed[20:], events[:20], events[20:]).p < 0.05)
    # Three standard errors of 1,000 draws.
    assert np.mean(results) == pytest.approx(0.05, abs=0.021)


def test_without_events_there_is_no_test() -> None:
    assert log_rank([5, 5], [5, 5], [False, False], [False, False]) is None
    assert log_rank([5, 6], [1, 2], [True, True], [False, False]) is None
    with pytest.raises(ValueError, match="as many events as times expected, found 1 and 2"):
        log_rank([1, 2], [3], [True], [True])
