"""The activations of the fused loop against NumPy's in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.unroll.fused.activations import activate

SIZES = (3, 5)


def sigmoid_and_tanh(z):
    """Return σ(z) and tanh(z), each taken from a gate of the fused loop."""
    gates = jnp.stack([z] * sum(SIZES), axis=-1)
    activated = activate(gates, ("logistic", "tanh"), SIZES)
    return activated[:, 0], activated[:, -1]


@pytest.mark.parametrize("function", [sigmoid_and_tanh, jax.jit(sigmoid_and_tanh)], ids=["eager", "compiled"])
def test_every_digit_is_right_in_the_tail_and_near_zero(function):
    random = np.random.default_rng(0)
    near_zero = random.normal(size=2_000) * 10.0 ** random.uniform(-30, 0, size=2_000)
    z = jnp.asarray(np.concatenate([np.linspace(-87, 100, 200_001), near_zero, [0.0]]), jnp.float32)
    sigmoid, tanh = function(z)
    exact = np.asarray(z, np.float64)
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-exact)), rtol=3e-7, atol=0)
    np.testing.assert_allclose(tanh, np.tanh(exact), rtol=3e-7, atol=0)


def test_what_is_beyond_the_range_of_a_float():
    z = jnp.array([-jnp.inf, -1e30, 1e30, jnp.inf, jnp.nan], jnp.float32)
    sigmoid, tanh = jax.jit(sigmoid_and_tanh)(z)
    np.testing.assert_allclose(sigmoid, [0, 0, 1, 1, np.nan], rtol=0, atol=1e-38)
    np.testing.assert_array_equal(tanh, [-1, -1, 1, 1, np.nan])
