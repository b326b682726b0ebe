from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.cells import (
    GRU,
    LSTM,
    LSTMCarry,
    Nested,
    NestedParams,
    Stack,
    count_parameters,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)


class NoParams(NamedTuple):
    pass


class SumCarry(NamedTuple):
    h: jax.Array


@dataclass(frozen=True)
class Addition:
    """A cell that computes the memory of an ordinary LSTM, x̃ + h̃."""

    features: int

    @property
    def out_features(self):
        return self.features

    def init(self, key, in_features):
        return NoParams()

    def initial_carry(self, batch_shape):
        return SumCarry(h=jnp.zeros((*batch_shape, self.features)))

    def sample_noise(self, params, key, shape):
        return params, ()

    def project(self, params, x):
        return x

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        total = z + (carry.h if recurrent_input is None else recurrent_input)
        return SumCarry(h=total), total


# Both gatings, every depth, and every other cell or option inside.
BY_DEFAULT = (
    "nested_1_multiply",
    "nested_2_multiply",
    "nested_3_multiply",
    "nested_4_add",
    "nested_gru_reset_before_add",
    "nested_nested_gru",
    "nested_elman",
    "nested_projected_lstm",
    "nested_lstm_options",
    "nested_options",
)


@zoo.parametrize("single", "nested", "reference", default=BY_DEFAULT)
def test_values_and_gradients_equal_the_reference(name):
    """The cell follows the paper's equations at every depth, with any cell with an h as the memory."""
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference, in_features=D, batch=1)


def test_with_addition_as_its_memory_a_nested_is_the_lstm():
    nested, lstm = Nested(4, inner=Addition(4), candidate_activation="tanh"), LSTM(4)
    params, xs, carry = references.example(lstm)
    with jax.enable_x64(True):
        params, xs, carry = jax.tree.map(jnp.asarray, (params, xs, carry))
        form = NestedParams(w_x=None, w_h=None, b=None, inner=NoParams())

        @references.compiled
        @jax.value_and_grad
        def through_lstm(arrays):
            params, xs, carry = arrays
            last, ys = unroll(lstm, params, xs, carry)
            return (ys**2).sum() + (last.c**2).sum()

        @references.compiled
        @jax.value_and_grad
        def through_nested(arrays):
            params, xs, carry = arrays
            params = form._replace(w_x=params.w_x, w_h=params.w_h, b=params.b)
            start = nested.initial_carry((2,))._replace(h=carry.h, inner=SumCarry(h=carry.c))
            last, ys = unroll(nested, params, xs, start)
            return (ys**2).sum() + (last.inner.h**2).sum()

        found, expected = (side((params, xs, carry)) for side in (through_nested, through_lstm))
    references.assert_trees_close(found, expected, 1e-12, "LSTM")


@pytest.mark.parametrize("gating", ["multiply", "add"])
def test_depth_one_is_the_lstm_with_the_identity_as_candidate(gating):
    assert nested_lstm(4, 1, gating=gating) == LSTM(4, candidate_activation="identity", gating=gating)


def test_depth_three_is_two_levels_around_an_lstm():
    inner = Nested(4, inner=LSTM(4), candidate_activation="tanh")
    assert nested_lstm(4, 3) == Nested(4, inner=inner, candidate_activation="identity")


def test_the_published_width_has_the_published_parameters():
    assert count_parameters(nested_lstm(40, 2), 1) == 19_680


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("in_features", [1, 7])
def test_a_depth_costs_what_a_stacked_layer_costs_and_less_state(depth, in_features):
    nested, stack = nested_lstm(5, depth), Stack((LSTM(5),) * depth)
    formula = 4 * 5 * (in_features + 5 + 1) + (depth - 1) * 4 * 5 * (2 * 5 + 1)
    assert count_parameters(nested, in_features) == count_parameters(stack, in_features) == formula
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(cell.initial_carry(()))) for cell in (nested, stack)]
    assert sizes == [5 * (depth + 1), 5 * 2 * depth]


def test_every_levels_forget_bias_is_stored_in_its_forget_block():
    params = nested_lstm(4, 3).init(KEY, 2)
    for level in (params, params.inner, params.inner.inner):
        np.testing.assert_array_equal(level.b, np.repeat([0.0, 1.0, 0.0, 0.0], 4))


def test_as_in_keras_the_inner_kernels_are_orthogonal_as_one():
    params = nested_lstm(4, 3, init_scheme="keras").init(KEY, 4)
    for level in (params.inner, params.inner.inner):
        whole = np.concatenate([level.w_x, level.w_h])
        np.testing.assert_allclose(whole @ whole.T, np.eye(8), rtol=0, atol=1e-5)
    np.testing.assert_allclose(params.w_h @ params.w_h.T, np.eye(4), rtol=0, atol=1e-5)
    assert np.abs(params.w_x).max() <= np.sqrt(6 / (4 + 16))


def test_levels_draw_different_weights_and_a_deeper_cell_keeps_the_outer_ones():
    two, three = nested_lstm(4, 2).init(KEY, 4), nested_lstm(4, 3).init(KEY, 4)
    assert not np.allclose(two.w_x, two.inner.w_x)
    assert not np.allclose(two.w_h, two.inner.w_h)
    np.testing.assert_array_equal(two.w_x, three.w_x)
    np.testing.assert_array_equal(two.w_h, three.w_h)


def test_the_recurrent_product_reads_what_it_is_told_and_the_memory_stays_true():
    cell = nested_lstm(4, 2)
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell))
    z = cell.project(params, xs[0])
    found = cell.step(params, carry, z, recurrent_input=jnp.zeros((2, 4)))
    expected = cell.step(params._replace(w_h=0 * params.w_h), carry, z)
    references.assert_trees_close(found, expected, 1e-6)


def test_the_carry_is_the_output_and_the_inner_cells_carry():
    carry = nested_lstm(4, 2).initial_carry((2,))
    assert (carry.h.shape, carry.inner.h.shape, carry.inner.c.shape) == ((2, 4), (2, 4), (2, 4))
    assert isinstance(carry.inner, LSTMCarry)


def test_bfloat16_is_for_the_products_alone():
    wide = nested_lstm(16, 2)
    narrow = Nested(16, inner=LSTM(16, dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    params, xs = narrow.init(KEY, 8), jax.random.normal(KEY, (4, 2, 8))
    carry, ys = references.run(narrow, params, xs)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, carry, ys))} == {jnp.dtype("float32")}
    exact = references.run(wide, params, xs)[1]
    np.testing.assert_allclose(ys, exact, rtol=0, atol=2e-2)
    assert not np.array_equal(ys, exact)


@pytest.mark.parametrize(
    ("features", "inner", "named"),
    [
        (4, LSTM(5), r"(?s)(?=.*LSTM)(?=.*\b5\b)(?=.*\b4\b)"),
        (4, LSTM(4, projection=3), r"(?s)(?=.*LSTM)(?=.*\b3\b)(?=.*\b4\b)"),
        (4, GRU(7), r"(?s)(?=.*GRU)(?=.*\b7\b)(?=.*\b4\b)"),
        (4, Stack((LSTM(4), LSTM(4))), r"(?s)(?=.*Stack)(?=.*\bh\b)"),
    ],
)
def test_a_cell_that_cannot_be_the_memory_is_refused_when_the_spec_is_made(features, inner, named):
    with pytest.raises(ValueError, match=named):
        Nested(features, inner=inner)


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_below_one_is_refused(depth):
    with pytest.raises(ValueError, match=rf"(?s)(?=.*depth)(?=.*{depth})"):
        nested_lstm(4, depth)
