"""Tests of this library's cells inside the recurrent layers of Flax NNX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from flax import nnx
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
    with_values,
)

from nlstm_jax.adapters.nnx import Recurrent, RNNCell
from nlstm_jax.unroll import unroll

GRADIENTS = ["gru", "nested_2_multiply", "stack", "zoneout", "transition_gru", "output_lstm"]


def by_path(tree):
    """Return the leaves of a cell's tuples by their paths, e.g. ("inner", "w_h")."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(step.name if hasattr(step, "name") else step.idx for step in path): leaf for path, leaf in leaves}


def rnn_cell(cell, params):
    return with_values(RNNCell(cell, D, deterministic=True, rngs=nnx.Rngs(0)), params)


@functools.partial(references.compiled, static_argnames="cell")
def by_flax(cell, params, xs, start, lengths):
    """Return the carries and the time-major outputs of `nnx.RNN`, by the name of the case."""
    made = rnn_cell(cell, params)
    batch_major = transposed(xs)

    def run(inputs, **options):
        carry, ys = nnx.RNN(made, return_carry=True)(inputs, **options)
        return carry, transposed(ys)

    both = nnx.Bidirectional(nnx.RNN(made), nnx.RNN(rnn_cell(cell, params)), return_carry=True)
    (there, back), both_ys = both(batch_major, initial_carry=(start, start), seq_lengths=lengths)
    return {
        "plain": run(batch_major),
        "lengths": run(batch_major, initial_carry=start, seq_lengths=lengths),
        "reverse": nnx.RNN(made, return_carry=True, unroll=2)(xs, time_major=True, initial_carry=start, reverse=True),
        "both": ((there, back), transposed(both_ys)),
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


def test_both_layers_run_a_cell_of_the_user_with_three_methods():
    cell = zoo.MinGRU(3)
    xs = jax.random.normal(KEY, (T, B, D))
    flax_layer = nnx.RNN(RNNCell(cell, D, rngs=nnx.Rngs(0)), time_major=True, return_carry=True)
    layer = Recurrent(cell, D, time_major=True, rngs=nnx.Rngs(0))
    expected = unroll(cell, layer.values, xs)
    assert_close(layer(xs), expected)
    assert_close(flax_layer(xs), expected)


def test_where_flax_reverses_outputs_with_lengths_the_padding_stays_behind():
    cell = CELLS["nested_2_multiply"]
    params, xs, start = example(cell)
    carry, ys = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True, reverse=True)(
        xs, initial_carry=start, seq_lengths=jnp.asarray(LENGTHS)
    )
    last, expected = references.run(cell, params, xs, start, lengths=LENGTHS, reverse=True)
    assert_close((carry, ys), (last, backwards(expected, LENGTHS)), np.arange(T)[:, None] < LENGTHS)


def test_past_the_end_flax_goes_on_where_unroll_puts_out_zeros_and_of_no_steps_it_returns_the_last_carry():
    cell, lengths = CELLS["lstm"], np.array([5, 3, 0])
    params, xs, start = example(cell)
    carry, ys = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True)(
        xs, initial_carry=start, seq_lengths=jnp.asarray(lengths)
    )
    last, zeroed = references.run(cell, params, xs, start, lengths=lengths)
    whole, gone_on = references.run(cell, params, xs, start)
    padding = np.arange(T)[:, None] >= lengths
    assert not zeroed[padding].any()
    np.testing.assert_allclose(ys, gone_on, 1e-5, 1e-5)
    for found, ours, unmasked, given in zip(*map(jax.tree.leaves, (carry, last, whole, start)), strict=True):
        np.testing.assert_allclose(found[:2], ours[:2], 1e-5, 1e-5)
        np.testing.assert_allclose(found[2], unmasked[2], 1e-5, 1e-5)
        np.testing.assert_array_equal(ours[2], given[2])


@pytest.mark.parametrize("name", zoo.marked(GRADIENTS, ["nested_2_multiply", "zoneout"]))
def test_gradients_through_flaxs_layer_are_unrolls(name):
    cell = CELLS[name]
    params, xs, start = example(cell)
    weights = references.normal_like(jax.eval_shape(lambda: unroll(cell, params, xs, start)), np.random.default_rng(1))

    @references.compiled
    def flaxs(params, xs, start):
        def loss(module, xs, start):
            layer = nnx.RNN(module, time_major=True, return_carry=True)
            return references.weigh(weights, layer(xs, initial_carry=start))

        return nnx.grad(loss, argnums=(0, 1, 2))(rnn_cell(cell, params), xs, start)

    by_params, by_xs, by_start = flaxs(params, xs, start)
    _, (expected, expected_xs, expected_start) = references.value_and_gradients(cell, params, xs, start, weights)
    found = {path: variable[...] for path, variable in nnx.to_flat_state(by_params)}
    by_name = {("params", *path): value for path, value in by_path(expected).items()}
    assert found.keys() == by_name.keys()
    for path, value in by_name.items():
        np.testing.assert_allclose(found[path], value, 1e-5, 1e-5, err_msg=str(path))
    references.assert_trees_close((by_xs, by_start), (expected_xs, expected_start), 1e-5)


@every_cell
def test_parameters_are_params_under_the_paths_of_the_cells_tuples(name):
    cell = CELLS[name]
    layer = nnx.RNN(RNNCell(cell, D, deterministic=True, rngs=nnx.Rngs(params=0)))
    flat = dict(nnx.to_flat_state(nnx.state(layer, nnx.Param)))
    expected = {("cell", "params", *path): value for path, value in by_path(cell.init(made_of(0), D)).items()}
    assert flat.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(flat[path][...], value)
    others = dict(nnx.to_flat_state(nnx.state(layer))).keys() - flat.keys()
    assert all(path[0] == "rngs" for path in others)


def made_of(seed):
    """Return the key that a module draws its parameters from."""
    return nnx.Rngs(params=seed).params()


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["lstm", "stack", "dropped", "zoneout", "nested_around_dropped"]))
def test_a_cell_that_draws_noise_must_be_asked_for_as_deterministic(name):
    if name in NOISY:
        with pytest.raises(ValueError, match=r"(?s)(?=.*without noise, or deterministic=True)(?=.*Recurrent)"):
            RNNCell(CELLS[name], D, rngs=nnx.Rngs(0))
    else:
        assert RNNCell(CELLS[name], D, rngs=nnx.Rngs(0)).cell == CELLS[name]


def test_any_leading_axes_are_a_batch_and_features_are_one_axis():
    cell = CELLS["nested_2_multiply"]
    params, xs, _ = example(cell)
    made = rnn_cell(cell, params)
    assert made.num_feature_axes == 1
    _, expected = references.run(cell, params, xs)
    layer = nnx.RNN(made)
    np.testing.assert_allclose(layer(xs[:, 0]), expected[:, 0], 1e-5, 1e-5)
    twice = jnp.stack([transposed(xs), transposed(xs)])
    np.testing.assert_allclose(layer(twice), jnp.stack([transposed(expected)] * 2), 1e-5, 1e-5)


@pytest.mark.parametrize("kind", ["streams", "default", "stream"])
def test_an_initial_carry_is_drawn_where_an_initializer_is_given(kind):
    streams = nnx.Rngs(5) if kind == "default" else nnx.Rngs(carry=5)
    streams = streams.carry if kind == "stream" else streams
    made = RNNCell(CELLS["nested_2_multiply"], D, rngs=nnx.Rngs(0))
    expected = CELLS["nested_2_multiply"].initial_carry((4, B))
    references.assert_trees_close(made.initialize_carry((4, B, D), streams), expected, 0.0)
    drawn = made.initialize_carry((4, B, D), streams, nnx.initializers.normal(1.0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), drawn) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    vectors = jax.tree.leaves(drawn)
    assert all(np.asarray(vector).all() for vector in vectors)
    assert len({np.asarray(vector).tobytes() for vector in vectors}) == 3
    ones = made.initialize_carry((B, D), streams, nnx.initializers.ones)
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(ones))


def test_flaxs_layer_starts_from_the_initial_carry_of_the_cell():
    class Ones(RNNCell):
        def initialize_carry(self, input_shape, rngs=None, carry_init=None):
            return super().initialize_carry(input_shape, rngs, nnx.initializers.ones)

    cell = CELLS["lstm"]
    params, xs, start = example(cell)
    made = Ones(cell, D, rngs=nnx.Rngs(0))
    made.params = rnn_cell(cell, params).params
    found = nnx.RNN(made, time_major=True, return_carry=True, rngs=nnx.Rngs(0))(xs)
    assert_close(found, references.run(cell, params, xs, jax.tree.map(jnp.ones_like, start)))


def test_flaxs_layer_runs_under_nnx_jit():
    cell = CELLS["nested_gru"]
    params, xs, _ = example(cell)
    layer = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True)
    run = nnx.jit(lambda layer, xs: layer(xs))
    assert_close(run(layer, xs), references.run(cell, params, xs))
    other, *_ = example(cell, seed=1)
    layer.cell = rnn_cell(cell, other)
    assert_close(run(layer, xs), references.run(cell, other, xs))
