"""Generated sequences have the properties that their docstrings state, for any seed."""

from itertools import pairwise

import numpy as np
import pytest

from nlstm_jax.data.generators.prices import price_walk
from nlstm_jax.data.generators.synthetic import SIX, cues, distinct_sequences, events


@pytest.mark.parametrize(("count", "length", "vocabulary"), [(1000, 5, 100), (200, 8, 2), (256, 8, 2), (7, 1, 7)])
def test_sequences_are_distinct_and_of_the_vocabulary(count: int, length: int, vocabulary: int) -> None:
    drawn = distinct_sequences(count, length, vocabulary, seed=3)
    assert drawn.shape == (count, length)
    assert len({tuple(row) for row in drawn.tolist()}) == count
    assert 0 <= drawn.min() <= drawn.max() < vocabulary


def test_symbols_are_uniform() -> None:
    drawn = distinct_sequences(20_000, 5, 10, seed=0)
    counts = np.stack([np.bincount(column, minlength=10) for column in drawn.T])
    # Five standard deviations of a count of 2,000 among 20,000.
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(20_000 * 0.1 * 0.9)


def test_more_sequences_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at most 8 sequences expected, .* found 9"):
        distinct_sequences(9, 3, 2, seed=0)


@pytest.mark.parametrize(("length", "classes"), [(12, 4), (6, 4), (30, 9), (4, 3)])
def test_the_class_of_an_event_is_the_symbol_that_comes_twice_in_a_row(length: int, classes: int) -> None:
    count = 40 if length == 4 else 2000
    drawn = events(count, length, classes, seed=1)
    assert drawn.symbols.shape == (count, length)
    assert len({tuple(row) for row in drawn.symbols.tolist()}) == count
    for row, label in zip(drawn.symbols.tolist(), drawn.classes.tolist(), strict=True):
        twice = {b for a, b in pairwise(row) if a == b and b > 0}
        assert twice == ({label} if label else set())
    shares = np.bincount(drawn.classes, minlength=classes) / count
    assert shares.min() > 0.5 / classes


def test_the_six_follow_the_rule_of_events() -> None:
    for row, label in SIX:
        assert {b for a, b in pairwise(row) if a == b and b > 0} == {label}


def test_only_the_first_symbol_knows_the_class_of_a_cue() -> None:
    drawn = cues(4000, 12, 4, seed=2)
    np.testing.assert_array_equal(drawn.classes, drawn.symbols[:, 0])
    for column in drawn.symbols[:, 1:].T:
        together = np.histogram2d(column, drawn.classes, bins=4)[0]
        # A table of independent counts of 250 each: five standard deviations.
        assert np.abs(together - 250).max() < 5 * np.sqrt(4000 / 16 * 15 / 16)


def test_prices_are_those_of_a_market() -> None:
    drawn = price_walk(2000, seed=0)
    prices = np.stack([drawn[name] for name in ("open", "high", "low", "close")])
    assert prices.min() > 0
    np.testing.assert_array_equal(drawn["high"], prices.max(0))
    np.testing.assert_array_equal(drawn["low"], prices.min(0))
    assert drawn["volume"].min() >= 0
    assert np.is_busday(drawn["date"]).all()
    assert (np.diff(drawn["date"]).astype(int) > 0).all()


def test_the_same_seed_draws_the_same_and_another_not() -> None:
    for draw in (
        lambda seed: distinct_sequences(50, 5, 9, seed),
        lambda seed: events(50, 9, 4, seed).symbols,
        lambda seed: price_walk(50, seed)["close"],
    ):
        np.testing.assert_array_equal(draw(1), draw(1))
        assert (draw(1) != draw(2)).any()
