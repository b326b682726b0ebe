import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.cells import GRU, LSTM, Elman, Stack, count_parameters
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)


class Nothing(NamedTuple):
    pass


@dataclass(frozen=True)
class PassThrough:
    """A cell whose output is its input, so that a test sees only the connections of the stack."""

    features: int

    @property
    def out_features(self):
        return self.features

    def init(self, key, in_features):
        return Nothing()

    def initial_carry(self, batch_shape):
        return Nothing()

    def sample_noise(self, params, key, shape):
        return params, ()

    def project(self, params, x):
        return x

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        return carry, z


@functools.partial(references.compiled, static_argnames="cell")
def stepped(cell, params, xs, key=None):
    """Run the stack as one cell, with a Python loop over `cell.step`."""
    length, batch, _ = xs.shape
    params, noise = cell.sample_noise(params, key, xs.shape)
    carry, ys = cell.initial_carry((batch,)), []
    for t in range(length):
        step_noise = jax.tree.map(lambda leaf, t=t: leaf[t], noise)
        carry, y = cell.step(params, carry, cell.project(params, xs[t]), step_noise)
        ys.append(y)
    return carry, jnp.stack(ys)


# Both options together and apart, other widths, other cells; of `stack_widths` and `stack_skip` the others have all.
BY_DEFAULT = (
    "stack_skip",
    "stack_residual",
    "stack_skip_residual",
    "stack_as_wide_as_its_input",
    "stack_nested",
    "stack_projection",
    "stack_of_stacks",
)


@zoo.parametrize("stack", "reference", without="deep", default=BY_DEFAULT)
def test_values_and_gradients_equal_the_reference(name):
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference, in_features=D, batch=1)


@pytest.mark.parametrize("name", ["stack_skip_residual", "stack_nested", "stack_of_stacks"])
def test_layer_by_layer_equals_the_stack_as_one_cell(name):
    cell = zoo.build(name)
    params, xs, _ = references.example(cell)
    references.assert_trees_close(references.run(cell, params, xs), stepped(cell, params, xs), 1e-6)


def test_shapes_of_the_published_sample():
    cell = Stack((LSTM(4), LSTM(5)))
    params, xs, _ = references.example(cell, in_features=6, steps=3, batch=2)
    carry, ys = jax.eval_shape(functools.partial(unroll, cell), params, xs)
    assert (cell.out_features, ys.shape) == (5, (3, 2, 5))
    assert [layer.h.shape for layer in carry.layers] == [(2, 4), (2, 5)]


def test_a_skip_widens_every_later_layers_input_and_a_residual_costs_nothing():
    layers = (LSTM(4), LSTM(4), LSTM(4))
    params = jax.eval_shape(lambda: Stack(layers, skip=True).init(KEY, 3))
    assert [layer.w_x.shape for layer in params.layers] == [(3, 16), (7, 16), (7, 16)]
    assert count_parameters(Stack(layers, residual=True), 3) == count_parameters(Stack(layers), 3)


def test_layers_draw_different_weights_and_a_later_layer_moves_none():
    two, three = Stack((LSTM(4),) * 2).init(KEY, 4), Stack((LSTM(4),) * 3).init(KEY, 4)
    assert not np.allclose(two.layers[0].w_x, two.layers[1].w_x)
    references.assert_trees_close(three.layers[:2], two.layers, 0.0)


def test_dropout_is_silent_without_a_key():
    plain, dropped = Stack((LSTM(4), LSTM(4))), Stack((LSTM(4), LSTM(4)), dropout=0.5)
    params, xs, _ = references.example(plain)
    references.assert_trees_close(references.run(dropped, params, xs), references.run(plain, params, xs), 0.0)


def test_dropout_draws_the_same_masks_layer_by_layer_and_stepped():
    cell = Stack((LSTM(4), Stack((Elman(3), GRU(3)), dropout=0.5)), dropout=0.5, skip=True)
    params, xs, _ = references.example(cell, steps=2)
    one, other = (references.run(cell, params, xs, key=jax.random.key(seed)) for seed in (1, 2))
    references.assert_trees_close(one, stepped(cell, params, xs, jax.random.key(1)), 1e-6)
    assert not np.allclose(one[1], other[1])
    assert not np.allclose(one[1], references.run(cell, params, xs)[1])


def test_dropout_keeps_the_right_fraction_scaled_and_only_between_layers():
    xs = jnp.ones((40, 5, 50))

    def outputs(layers):
        cell = Stack((PassThrough(50),) * layers, dropout=0.25)
        return np.asarray(references.run(cell, cell.init(KEY, 50), xs, key=KEY)[1])

    np.testing.assert_array_equal(outputs(1), xs)
    once, twice = outputs(2), outputs(3)
    np.testing.assert_allclose(np.unique(once), [0, 1 / 0.75], rtol=1e-6)
    np.testing.assert_allclose(np.unique(twice), [0, 1 / 0.75**2], rtol=1e-6)
    # 10,000 numbers: five standard deviations are 0.022 and 0.025.
    assert abs((once > 0).mean() - 0.75) < 0.022
    assert abs((twice > 0).mean() - 0.75**2) < 0.025
    assert not np.array_equal(once[0], once[1])
    assert not np.array_equal(once[:, 0], once[:, 1])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_dropout_rate_outside_its_range_is_refused(rate):
    with pytest.raises(ValueError, match=rf"(?s)(?=.*dropout)(?=.*{rate})"):
        Stack((LSTM(4), LSTM(4)), dropout=rate)


def test_an_empty_stack_is_refused():
    with pytest.raises(ValueError, match="Stack"):
        Stack(())
