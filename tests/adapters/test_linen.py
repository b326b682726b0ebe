"""Tests of this library's cells inside the recurrent layers of Flax Linen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
import zoo
from flax import linen
from flax_contract import (
    CELLS,
    KEY,
    LENGTHS,
    NOISY,
    B,
    D,
    T,
    assert_close,
    backwards,
    by_us,
    every_cell,
    example,
    transposed,
)

from nlstm_jax.adapters.linen import RNNCell
from nlstm_jax.cells import LSTM
from nlstm_jax.unroll import unroll

GRADIENTS = ["gru", "nested_2_multiply", "stack", "zoneout", "transition_gru", "output_lstm"]


def held(params):
    """Return a cell's parameters in the tree that an `nn.RNN` around the cell has."""
    return {"params": {"cell": {"cell": params}}}


@functools.partial(references.compiled, static_argnames="cell")
def by_flax(cell, params, xs, start, lengths):
    """Return the carries and the time-major outputs of `nn.RNN`, by the name of the case."""
    made = RNNCell(cell, deterministic=True)
    batch_major = transposed(xs)

    def run(inputs, **options):
        carry, ys = linen.RNN(made, return_carry=True).apply(held(params), inputs, **options)
        return carry, transposed(ys)

    both = linen.Bidirectional(linen.RNN(made), linen.RNN(RNNCell(cell, deterministic=True)), return_carry=True)
    each = {"params": {direction: held(params)["params"] for direction in ("forward_rnn", "backward_rnn")}}
    ends, both_ys = both.apply(each, batch_major, initial_carry=(start, start), seq_lengths=lengths)
    return {
        "plain": run(batch_major),
        "lengths": run(batch_major, initial_carry=start, seq_lengths=lengths),
        "reverse": linen.RNN(made, return_carry=True, unroll=2).apply(
            held(params), xs, time_major=True, initial_carry=start, reverse=True
        ),
        "both": (ends, transposed(both_ys)),
    }


@every_cell
def test_flaxs_layers_run_every_cell_as_unroll_does(name):
    cell = CELLS[name]
    params, xs, start = example(cell)
    found, expected = by_flax(cell, params, xs, start, LENGTHS), by_us(cell, params, xs, start, LENGTHS)
    valid = np.arange(T)[:, None] < LENGTHS
    assert_close(found["plain"], expected["plain"])
    assert_close(found["lengths"], expected["lengths"], valid)
    carry, ys = expected["reverse"]
    assert_close(found["reverse"], (carry, backwards(ys)))
    (there, forward), (back, backward) = expected["lengths"], expected["keep_order"]
    assert_close(found["both"], ((there, back), np.concatenate([forward, backward], -1)), valid)


def test_flaxs_layer_runs_a_cell_of_the_user_with_three_methods():
    cell = zoo.MinGRU(3)
    params, xs, _ = example(cell)
    layer = linen.RNN(RNNCell(cell), time_major=True, return_carry=True)
    assert jax.tree.map(jnp.shape, layer.init(KEY, xs)) == jax.tree.map(jnp.shape, held(params))
    assert_close(layer.apply(held(params), xs), unroll(cell, params, xs))


def test_past_the_end_flax_goes_on_where_unroll_puts_out_zeros_and_of_no_steps_it_returns_the_last_carry():
    cell, lengths = CELLS["lstm"], np.array([5, 3, 0])
    params, xs, start = example(cell)
    layer = linen.RNN(RNNCell(cell), time_major=True, return_carry=True)
    carry, ys = layer.apply(held(params), xs, initial_carry=start, seq_lengths=jnp.asarray(lengths))
    last, zeroed = references.run(cell, params, xs, start, lengths=lengths)
    whole, gone_on = references.run(cell, params, xs, start)
    assert not zeroed[np.arange(T)[:, None] >= lengths].any()
    np.testing.assert_allclose(ys, gone_on, 1e-5, 1e-5)
    for found, ours, unmasked, given in zip(*map(jax.tree.leaves, (carry, last, whole, start)), strict=True):
        np.testing.assert_allclose(found[:2], ours[:2], 1e-5, 1e-5)
        np.testing.assert_allclose(found[2], unmasked[2], 1e-5, 1e-5)
        np.testing.assert_array_equal(ours[2], given[2])


@every_cell
def test_parameters_are_drawn_by_the_cell_and_held_in_its_own_tuples(name):
    cell = CELLS[name]
    layer = linen.RNN(RNNCell(cell, deterministic=True))
    found = jax.eval_shape(layer.init, KEY, jnp.ones((B, T, D)))
    assert found == jax.eval_shape(lambda: held(cell.init(KEY, D)))


@pytest.mark.slow
def test_initial_values_are_of_the_cells_kind():
    one, again, other = (
        linen.RNN(RNNCell(LSTM(32, forget_bias=2.0))).init(key, jnp.ones((B, T, 32)))["params"]["cell"]["cell"]
        for key in (KEY, KEY, jax.random.key(4))
    )
    references.assert_trees_close(one, again, 0.0)
    np.testing.assert_array_equal(one.b[32:64], 2.0)
    assert abs(one.w_x.std() / LSTM(32).init(KEY, 32).w_x.std() - 1) < 0.1
    assert not np.allclose(one.w_x, other.w_x)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["lstm", "stack", "dropped", "zoneout", "nested_around_dropped"]))
def test_a_cell_that_draws_noise_must_be_asked_for_as_deterministic(name):
    layer, xs = linen.RNN(RNNCell(CELLS[name])), jnp.ones((B, T, D))
    if name in NOISY:
        with pytest.raises(ValueError, match=r"(?s)(?=.*without noise, or deterministic=True)(?=.*Recurrent)"):
            layer.init(KEY, xs)
    else:
        assert jax.eval_shape(layer.init, KEY, xs)


@pytest.mark.parametrize("name", zoo.marked(GRADIENTS, ["nested_2_multiply", "zoneout"]))
def test_gradients_through_flaxs_layer_are_unrolls(name):
    cell = CELLS[name]
    params, xs, start = example(cell)
    weights = references.normal_like(jax.eval_shape(lambda: unroll(cell, params, xs, start)), np.random.default_rng(1))
    layer = linen.RNN(RNNCell(cell, deterministic=True), time_major=True, return_carry=True)

    def loss(params, xs, start):
        return references.weigh(weights, layer.apply(held(params), xs, initial_carry=start))

    found = references.compiled(jax.grad(loss, (0, 1, 2)))(params, xs, start)
    _, expected = references.value_and_gradients(cell, params, xs, start, weights)
    references.assert_trees_close(found, expected, 1e-5)


def test_any_leading_axes_are_a_batch_and_features_are_one_axis():
    cell = CELLS["nested_2_multiply"]
    params, xs, _ = example(cell)
    assert RNNCell(cell).num_feature_axes == 1
    _, expected = references.run(cell, params, xs)
    layer = linen.RNN(RNNCell(cell))
    np.testing.assert_allclose(layer.apply(held(params), xs[:, 0]), expected[:, 0], 1e-5, 1e-5)
    twice = jnp.stack([transposed(xs), transposed(xs)])
    np.testing.assert_allclose(layer.apply(held(params), twice), jnp.stack([transposed(expected)] * 2), 1e-5, 1e-5)


def test_the_initial_carry_is_the_cells_and_needs_no_parameters():
    for cell in CELLS.values():
        found = RNNCell(cell, deterministic=True).initialize_carry(KEY, (4, B, D))
        references.assert_trees_close(found, cell.initial_carry((4, B)), 0.0)


@pytest.mark.slow
def test_a_model_with_the_layer_learns():
    model = linen.Sequential([linen.RNN(RNNCell(CELLS["nested_2_multiply"])), linen.Dense(1)])
    xs = jax.random.normal(KEY, (16, T, D))
    rule, variables = optax.adam(0.02), model.init(KEY, xs)
    state = rule.init(variables)

    def loss(variables):
        return jnp.square(model.apply(variables, xs)[..., 0] - jnp.cumsum(xs[..., 0], axis=1)).mean()

    @references.compiled
    def step(variables, state):
        value, gradients = jax.value_and_grad(loss)(variables)
        updates, state = rule.update(gradients, state)
        return optax.apply_updates(variables, updates), state, value

    values = []
    for _ in range(30):
        variables, state, value = step(variables, state)
        values.append(float(value))
    assert values[-1] < 0.7 * values[0]
