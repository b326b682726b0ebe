"""The two processes have equal entropies, and the forward algorithm agrees with the sum over all paths."""

import itertools
import math

import numpy as np
import pytest

from nlstm_jax.data.generators.timescales import entropy_rate, optimal_log_loss, sample, slow_and_fast


def path_probability(model, sequence) -> float:
    """Return the probability of a sequence, summed over all paths of states."""
    total = 0.0
    for path in itertools.product(range(model.initial.size), repeat=len(sequence)):
        probability = model.initial[path[0]] * model.emission[path[0], sequence[0]]
        for time in range(1, len(sequence)):
            probability *= model.transition[path[time - 1], path[time]] * model.emission[path[time], sequence[time]]
        total += probability
    return total


def block_entropy(model, length: int) -> float:
    """Return the entropy of all sequences of a length, in nats, by the forward algorithm on each of them."""
    symbols = range(model.emission.shape[1])
    sequences = np.array(list(itertools.product(symbols, repeat=length)))
    losses = optimal_log_loss(model, sequences)
    probabilities = np.exp(-losses.sum(axis=1))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    return float((probabilities * losses.sum(axis=1)).sum())


@pytest.mark.parametrize("variant", ["gates", "feeds"])
def test_the_forward_algorithm_is_the_sum_over_all_paths(variant) -> None:
    model = slow_and_fast(variant, positions=3, switch=0.2, noise=0.3)
    for sequence in sample(model, 4, 3, seed=1):
        losses = optimal_log_loss(model, sequence[None])
        assert losses.sum() == pytest.approx(-math.log(path_probability(model, sequence)), rel=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_the_entropies_of_all_blocks_are_equal(length) -> None:
    gates = slow_and_fast("gates", positions=3, switch=0.15, noise=0.2)
    feeds = slow_and_fast("feeds", positions=3, switch=0.15, noise=0.2)
    assert block_entropy(gates, length) == pytest.approx(block_entropy(feeds, length), rel=1e-12)
    assert np.abs(gates.transition - feeds.transition).max() > 0.1


def test_the_entropy_rates_of_the_defaults_are_equal_and_lie_between_certainty_and_chance() -> None:
    gates, gates_error = entropy_rate(slow_and_fast("gates"), length=600)
    feeds, feeds_error = entropy_rate(slow_and_fast("feeds"), length=600)
    assert abs(gates - feeds) < 4 * math.hypot(gates_error, feeds_error)
    assert gates_error < 0.01
    # With a known slow state the loss is that of the impulse and the noise; without memory it is log 14.
    known = math.log(2) - 0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 6)
    assert known < gates < known + 0.2 < math.log(14) - 0.5


@pytest.mark.parametrize("variant", ["gates", "feeds"])
def test_rows_are_distributions_and_the_start_is_stationary(variant) -> None:
    model = slow_and_fast(variant)
    np.testing.assert_allclose(model.transition.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(model.emission.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(model.initial @ model.transition, model.initial, rtol=1e-12)


def test_without_noise_the_position_moves_as_stated() -> None:
    gates = sample(slow_and_fast("gates", positions=7, switch=0.0, noise=0.0), 20, 30, seed=2)
    feeds = sample(slow_and_fast("feeds", positions=7, switch=0.0, noise=0.0), 20, 30, seed=2)
    for symbols, is_gate in ((gates, True), (feeds, False)):
        impulses = np.where(symbols >= 7, 1, -1)[:, :-1]
        moves = np.diff(symbols % 7, axis=1) % 7
        slow = [(moves - impulses * sign if is_gate else moves - impulses - sign) % 7 for sign in (-1, 1)]
        # In each sequence one value of the slow state explains all moves.
        assert all((slow[0][row] == 0).all() or (slow[1][row] == 0).all() for row in range(20))


def test_sampling_depends_on_the_seed_alone() -> None:
    model = slow_and_fast("feeds")
    np.testing.assert_array_equal(sample(model, 5, 20, seed=3), sample(model, 5, 20, seed=3))
    assert (sample(model, 5, 20, seed=3) != sample(model, 5, 20, seed=4)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "gate"}, "variant: gates or feeds expected, found 'gate'"),
        ({"variant": "gates", "positions": 2}, "positions: at least 3 expected, found 2"),
        ({"variant": "gates", "noise": 1.5}, "noise: a probability expected, found 1.5"),
    ],
)
def test_mistakes_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        slow_and_fast(**arguments)
