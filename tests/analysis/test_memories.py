"""The time scales of processes that are known, and what must not matter: padding, resets, the order of sequences."""

import numpy as np
import pytest

from nlstm_jax.analysis.memories import (
    PADDING,
    autocorrelation,
    gradient_by_lag,
    held_at,
    held_back,
    mean_lag,
    segments_of,
    time_scale,
)

T, B, H = 12, 5, 3
LENGTHS = np.array([12, 7, 1, 0, 9])


def ragged(seed: int = 0):
    """Return a memory with garbage in its padding, and its segments: a reset in the first sequence."""
    memory = np.random.default_rng(seed).normal(size=(T, B, H))
    valid = np.arange(T)[:, None] < LENGTHS
    memory[~valid] = np.nan
    resets = np.zeros((T, B), bool)
    resets[5, 0] = True
    return memory, segments_of(valid, resets)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_an_autoregressive_process_has_its_own_time_scale(decay):
    generator = np.random.default_rng(0)
    memory = np.zeros((20_000, 4, 2))
    for step in range(1, len(memory)):
        memory[step] = decay * memory[step - 1] + generator.normal(size=(4, 2))
    segments = segments_of(np.ones(memory.shape[:2], bool))
    correlations = autocorrelation(memory + 7.0, segments, lags=40)
    np.testing.assert_allclose(correlations[:20], decay ** np.arange(20), atol=0.03)
    # The trapezoidal rule on decay^k gives 1/2 + decay / (1 − decay).
    assert time_scale(correlations) == pytest.approx(0.5 + decay / (1 - decay), rel=0.06)


def test_a_slower_process_is_told_from_a_faster_one_by_the_exact_exponentials():
    scales = [time_scale(np.exp(-np.arange(500) / tau)) for tau in (4.0, 20.0)]
    assert scales == pytest.approx([4.0, 20.0], rel=0.01)
    assert np.isnan(time_scale(np.full(5, np.nan)))


def test_autocorrelation_is_the_sum_over_all_pairs_of_one_segment():
    memory, segments = ragged()
    mean = memory[segments != PADDING].mean(0)
    for lag, found in enumerate(autocorrelation(memory, segments, lags=T)):
        product = earlier = later = 0.0
        for step in range(T - lag):
            for sequence in range(B):
                ends = segments[step, sequence], segments[step + lag, sequence]
                if ends[0] == ends[1] != PADDING:
                    x = memory[step, sequence] - mean
                    y = memory[step + lag, sequence] - mean
                    product, earlier, later = product + x @ y, earlier + x @ x, later + y @ y
        if earlier == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(product / np.sqrt(earlier * later), abs=1e-12)


def test_padding_and_the_order_of_sequences_do_not_matter_and_a_reset_is_a_new_sequence():
    memory, segments = ragged()
    expected = autocorrelation(memory, segments, lags=8)
    padded = np.concatenate([memory, np.full((4, B, H), 1e9)])
    longer = np.concatenate([segments, np.full((4, B), PADDING)])
    np.testing.assert_array_equal(autocorrelation(padded, longer, lags=8), expected)
    order = [4, 2, 0, 1, 3]
    np.testing.assert_allclose(autocorrelation(memory[:, order], segments[:, order], lags=8), expected, atol=1e-12)

    whole = np.random.default_rng(1).normal(size=(8, 1, H))
    resets = (np.arange(8) == 4)[:, None]
    apart = np.concatenate([whole[:4], whole[4:]], axis=1)
    np.testing.assert_allclose(
        autocorrelation(whole, segments_of(np.ones((8, 1), bool), resets), lags=3),
        autocorrelation(apart, segments_of(np.ones((4, 2), bool)), lags=3),
        atol=1e-12,
    )


def test_a_constant_memory_has_no_time_scale():
    segments = segments_of(np.ones((6, 2), bool))
    assert np.isnan(time_scale(autocorrelation(np.ones((6, 2, H)), segments, lags=4)))


def test_gradients_are_averaged_over_the_sequences_that_reach_the_lag():
    _, segments = ragged()
    decay = 0.7
    origins = np.stack([np.maximum(LENGTHS - 1, 0), np.maximum(LENGTHS // 2 - 1, 0)])
    distance = origins[:, None, :] - np.arange(T)[:, None]
    gradients = np.where(distance >= 0, decay ** np.abs(distance), 0.0)[..., None] * np.ones(H)
    norms = gradient_by_lag(gradients, origins, segments, lags=10)
    # The reset in the sequence of 12 steps leaves 6 lags, and the sequence of 9 steps has 8.
    np.testing.assert_allclose(norms[:8], np.sqrt(H) * decay ** np.arange(1, 9), rtol=1e-12)
    assert np.isnan(norms[8:]).all()
    lags = np.arange(1, 9)
    assert mean_lag(norms) == pytest.approx((lags * decay**lags).sum() / (decay**lags).sum())
    assert np.isnan(mean_lag(np.zeros(4)))


def test_a_memory_is_held_inside_its_segment():
    memory, segments = ragged()
    valid = segments != PADDING
    np.testing.assert_array_equal(held_back(memory, segments, 0)[valid], memory[valid])
    back = held_back(memory, segments, 3)
    np.testing.assert_array_equal(back[4, 0], memory[1, 0])
    np.testing.assert_array_equal(back[2, 0], memory[0, 0])
    np.testing.assert_array_equal(back[5:8, 0], memory[[5, 5, 5], 0])
    held = held_at(memory, segments, np.full(H, 2.0))
    np.testing.assert_array_equal(held[[0, 5], 0], memory[[0, 5], 0])
    assert (held[[1, 4, 6, 11], 0] == 2.0).all()
