"""The widely copied Nested LSTM for Keras: against a loop over its weights, and to Keras and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.adapters.weights import from_keras, to_keras
from nlstm_jax.cells import (
    MaskedParams,
    Nested,
    VariationalDropout,
    nested_lstm,
)

KEY = jax.random.key(0)


def drawn(layer):
    """Return random parameters. Unlike true initial values they need no compilation."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), references.example(layer)[0])


def additive_tensors(features, hidden, depth, bias=True):
    """Return random weights of the widely copied Keras Nested LSTM."""
    generator = np.random.default_rng(depth)
    shapes = {"input_kernel_1": (features, 4 * hidden), "kernel_1": (hidden, 4 * hidden)}
    shapes |= {f"kernel_{level}": (2 * hidden, 4 * hidden) for level in range(2, depth + 1)}
    shapes |= {f"bias_{level}": (4 * hidden,) for level in range(1, depth + 1) if bias}
    return {name: 0.6 * generator.standard_normal(shape) for name, shape in shapes.items()}


def additive_loop(tensors, depth, xs, masks):
    """Run the Keras Nested LSTM step by step: gate order i, g, f, o, and σ(i) + φ(g) at every level."""
    sigmoid = references.sigmoid
    hidden = tensors["kernel_1"].shape[0]
    h, *memories = np.zeros((depth + 1, xs.shape[1], hidden))

    def level(number, entering, kept):
        """Return the output of a level whose previous output is `kept`. Its cell state is the next level's output."""
        read = kept * masks[number - 1]
        if number == 1:
            z = entering @ tensors["input_kernel_1"] + read @ tensors["kernel_1"]
        else:
            z = np.concatenate([entering, read], axis=-1) @ tensors[f"kernel_{number}"]
        i, g, f, o = np.split(z + tensors.get(f"bias_{number}", 0.0), 4, axis=-1)
        candidate = g if number == 1 else np.tanh(g)
        entering, kept = sigmoid(i) + candidate, sigmoid(f) * memories[number - 1]
        memories[number - 1] = kept + entering if number == depth else level(number + 1, entering, kept)
        return sigmoid(o) * np.tanh(memories[number - 1])

    ys = []
    for x in xs:
        h = level(1, x, h)
        ys.append(h)
    return np.stack(ys), [h, *memories]


def states_of(carry):
    """Return h, then the cell states, outermost first."""
    return [carry.h, *states_of(carry.inner)] if hasattr(carry, "inner") else [carry.h, carry.c]


def dropped(cell, params, masks):
    """Return the cell with a `VariationalDropout` at every level, and its parameters with these masks applied."""
    if isinstance(cell, Nested):
        inner, inner_params = dropped(cell.inner, params.inner, masks[1:])
        cell = nested_with(cell, inner)
        params = params._replace(inner=inner_params)
    return VariationalDropout(cell, recurrent=0.5), MaskedParams(params, inputs=None, recurrent=masks[0])


def nested_with(cell, inner):
    options = ("candidate_activation", "gating", "use_bias")
    return Nested(cell.features, inner, **{name: getattr(cell, name) for name in options})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_additive_nested_lstm_equals_a_loop_over_keras_weights(depth, masked):
    tensors = additive_tensors(3, 4, depth, bias=depth != 2 or not masked)
    generator = np.random.default_rng(7)
    xs = generator.standard_normal((5, 2, 3))
    masks = 2.0 * (generator.random((depth, 2, 4)) < 0.5) if masked else np.ones((depth, 2, 4))
    expected, memories = additive_loop(tensors, depth, xs, masks)
    with jax.enable_x64(True):
        cell, params = from_keras(tensors)
        assert cell == nested_lstm(4, depth, "add", use_bias="bias_1" in tensors)
        if masked:
            cell, params = dropped(cell, params, [jnp.asarray(mask) for mask in masks])
        carry = jax.tree.map(lambda leaf: leaf.astype(np.float64), cell.initial_carry((2,)))

        @references.compiled
        def run(params, carry, xs):
            return jax.lax.scan(lambda carry, x: cell.step(params, carry, cell.project(params, x)), carry, xs)

        carry, found = run(params, carry, jnp.asarray(xs))
    np.testing.assert_allclose(found, expected, 1e-10, 1e-10)
    # The memory of a level is the output of the level inside it, so every vector but the innermost is an h.
    for ours, theirs in zip(states_of(carry), memories, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-10, 1e-10)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cell_activation", ["linear", "softsign"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_nested_lstms_way_to_keras_and_back_changes_no_bit(depth, cell_activation, use_bias):
    candidate = {"linear": "identity"}.get(cell_activation, cell_activation)
    cell = nested_lstm(4, depth, "add", candidate_activation=candidate, use_bias=use_bias)
    params = drawn(cell)
    back, values = from_keras(to_keras(cell, params), cell_activation=cell_activation)
    assert back == cell
    references.assert_trees_close(values, params, 0.0)


def test_a_nested_lstm_from_keras_and_back_has_the_same_names_and_bits():
    tensors = {name: value.astype(np.float32) for name, value in additive_tensors(3, 4, 3).items()}
    found = to_keras(*from_keras(tensors))
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_dropout_is_left_out():
    cell = nested_lstm(4, 2, "add")
    noisy = VariationalDropout(nested_with(cell, VariationalDropout(cell.inner, recurrent=0.5)), inputs=0.5)
    params = drawn(cell)
    references.assert_trees_close(to_keras(noisy, params), to_keras(cell, params), 0.0)
