"""An LSTM with a backward pass written by hand, as a reference for the generic fused loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells.lstm import LSTMParams
from nlstm_jax.types import Array, Float


class StepValues(NamedTuple):
    """The values of the forward pass that the backward pass needs, stacked along T by the scan.

    Attributes:
        i: The input gate.
        f: The forget gate.
        g: The candidate.
        o: The output gate.
        c: The memory before the step.
        y: The tanh of the memory after the step.
    """

    i: Float[Array, "*T B H"]
    f: Float[Array, "*T B H"]
    g: Float[Array, "*T B H"]
    o: Float[Array, "*T B H"]
    c: Float[Array, "*T B H"]
    y: Float[Array, "*T B H"]


class Saved(NamedTuple):
    """The values that the forward pass hands to the backward pass.

    Attributes:
        params: The parameters.
        xs: The inputs.
        values: The values of all steps.
        hs: The outputs of all steps.
    """

    params: LSTMParams
    xs: Float[Array, "T B D"]
    values: StepValues
    hs: Float[Array, "T B H"]


@jax.custom_vjp
def lstm(params: LSTMParams, xs: Float[Array, "T B D"]) -> Float[Array, "T B H"]:
    """Return the outputs of a plain LSTM that starts from zeros."""
    return _forward(params, xs)[0]


def _forward(params: LSTMParams, xs: Float[Array, "T B D"]) -> tuple[Float[Array, "T B H"], Saved]:
    """Return the outputs, and the values that the backward pass needs."""
    assert params.b is not None
    width = params.w_h.shape[0]
    # sigmoid(x) = (tanh(x / 2) + 1) / 2, so one tanh serves all four gates.
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), width)

    def step(carry: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], tuple[StepValues, Array]]:
        c, h = carry
        activated = jax.lax.optimization_barrier(jnp.tanh((z + h @ params.w_h) * scale))
        i, f, g, o = jax.lax.split(activated, (width,) * 4, axis=1)
        i = 0.5 * i + 0.5
        f = 0.5 * f + 0.5
        o = 0.5 * o + 0.5
        next_c = f * c + i * g
        y = jnp.tanh(next_c)
        next_h = o * y
        return (next_c, next_h), (StepValues(i, f, g, o, c, y), next_h)

    zeros = jnp.zeros((xs.shape[1], width), xs.dtype)
    _, (values, hs) = jax.lax.scan(step, (zeros, zeros), xs @ params.w_x + params.b)
    return hs, Saved(params, xs, values, hs)


def _backward(saved: Saved, ys_bar: Float[Array, "T B H"]) -> tuple[LSTMParams, Float[Array, "T B D"]]:
    """Return the gradients by the parameters and the inputs. A name that ends in `_bar` is a gradient."""
    params, xs, values, hs = saved
    w_h_transposed = params.w_h.T

    def step(carry: tuple[Array, Array], slices: tuple[Array, StepValues]) -> tuple[tuple[Array, Array], Array]:
        c_bar, h_bar = carry
        y_bar, (i, f, g, o, c, y) = slices
        h_bar = h_bar + y_bar
        c_bar = c_bar + h_bar * o * (1 - y * y)
        z_bar = jnp.concatenate(
            [
                c_bar * g * (i * (1 - i)),
                c_bar * c * (f * (1 - f)),
                c_bar * i * (1 - g * g),
                h_bar * y * (o * (1 - o)),
            ],
            axis=1,
        )
        return (c_bar * f, z_bar @ w_h_transposed), z_bar

    zeros = jnp.zeros_like(hs[0])
    _, z_bars = jax.lax.scan(step, (zeros, zeros), (ys_bar, values), reverse=True)
    previous_hs = jnp.concatenate([zeros[None], hs[:-1]])
    gradients = params._replace(
        w_x=_kernel_gradient(xs, z_bars), w_h=_kernel_gradient(previous_hs, z_bars), b=z_bars.sum((0, 1))
    )
    return gradients, z_bars @ params.w_x.T


def _kernel_gradient(inputs: Array, z_bars: Array) -> Array:
    """Return the product of inputs [T, B, rows] and gradients [T, B, columns], summed over T and B."""
    return jax.lax.dot_general(inputs, z_bars, (((0, 1), (0, 1)), ((), ())))


lstm.defvjp(_forward, _backward)
