"""The tail of a saturated gate: σ and its gradient are right to five digits down to z = -80, in every loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import GRU, LSTM, Nested, nested_lstm
from nlstm_jax.unroll import unroll

PRE_ACTIVATIONS = np.array([-80.0, -60.0, -40.0, -20.0, -16.0, -12.0, -8.0, -4.0, -1.0, 0.0, 1.0, 4.0])
OPEN = 40.0
"""σ of it is 1 to rounding."""

GATES = {
    "lstm_input": (LSTM(1), references.lstm(), 0),
    "lstm_forget": (LSTM(1), references.lstm(), 1),
    "lstm_output": (LSTM(1), references.lstm(), 3),
    "gru_reset": (GRU(1), references.gru(), 0),
    "gru_update": (GRU(1), references.gru(), 1),
    "nested_input": (nested_lstm(1, 2), references.nested_lstm(2), 0),
    "nested_forget": (nested_lstm(1, 2), references.nested_lstm(2), 1),
    "nested_output": (nested_lstm(1, 2), references.nested_lstm(2), 3),
}


def parameters(cell, gate, z):
    """Return zero weights, and biases with which `gate` has the pre-activation `z` and alone decides the output."""
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    if isinstance(cell, GRU):
        # With r in question the candidate tanh(r b_n) is the output, with z in question z h is.
        values = [z, -OPEN, 0.0] if gate == 0 else [OPEN, z, 0.0]
        return params._replace(b=jnp.stack(jnp.asarray(values)), b_n=jnp.full(1, 1.0 - gate))
    values = [OPEN, -OPEN, 1.0, OPEN]
    if gate == 1:
        # The old memory alone enters the new one.
        values[2] = 0.0
    values[gate] = z
    params = params._replace(b=jnp.stack(jnp.asarray(values)))
    if isinstance(cell, Nested):
        # The inner memory is the sum of what enters, by open gates.
        inner = jnp.array([OPEN, -OPEN, 1.0, OPEN])
        if gate != 3:
            weight = jnp.zeros((1, 4)).at[0, 2].set(1.0)
            inner = inner.at[2].set(0.0)
            params = params._replace(inner=params.inner._replace(w_x=weight * (gate == 0), w_h=weight * (gate == 1)))
        params = params._replace(inner=params.inner._replace(b=inner))
    return params


def output(cell, gate, mode, z):
    """Compute the output of one step from a carry of ones, as a function of the pre-activation of one gate."""
    carry = jax.tree.map(jnp.ones_like, cell.initial_carry((1,)))
    return unroll(cell, parameters(cell, gate, z), jnp.zeros((1, 1, 1)), carry, mode=mode)[1].sum()


def expected_output(cell, reference, gate, z):
    """Compute the same in complex NumPy, from the equations alone."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: np.array(leaf, np.complex128), parameters(cell, gate, 0.0))
    b = params.b.copy()
    b[gate] = z
    params = params._replace(b=b)
    carry = jax.tree.map(lambda leaf: np.ones(leaf.shape[1:], np.complex128), cell.initial_carry((1,)))
    return reference(params, carry, np.zeros(1))[1].sum()


@pytest.mark.parametrize("mode", ["scan", "fused"])
@pytest.mark.parametrize("name", GATES)
def test_the_tail_of_a_gate_and_its_gradient_are_right_to_five_digits(name, mode):
    cell, reference, gate = GATES[name]
    expected = np.array([expected_output(cell, reference, gate, z + 1j * references.STEP) for z in PRE_ACTIVATIONS])
    function = jax.jit(jax.value_and_grad(functools.partial(output, cell, gate, mode)))
    zs = jnp.asarray(PRE_ACTIVATIONS, jnp.float32)
    one_by_one = np.array([function(z) for z in zs]).T
    by_vmap = np.stack(jax.vmap(function)(zs))
    for values, gradients in (one_by_one, by_vmap):
        np.testing.assert_allclose(values, expected.real, rtol=1e-5, atol=0)
        np.testing.assert_allclose(gradients, expected.imag / references.STEP, rtol=1e-5, atol=0)
