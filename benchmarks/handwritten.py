"""An LSTM whose backward pass is written by hand, for it alone: what the generic fused loop is measured against."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells.lstm import LSTMParams
from nlstm_jax.types import Array


@jax.custom_vjp
def lstm(params: LSTMParams, xs: Array) -> Array:
    """The outputs [T, B, H] of a plain LSTM on inputs [T, B, D], from zeros."""
    return _forward(params, xs)[0]


def _forward(params: LSTMParams, xs: Array) -> tuple[Array, Any]:
    assert params.b is not None
    width = params.w_h.shape[0]
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), width)

    def step(carry: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], Any]:
        c, h = carry
        bent = jax.lax.optimization_barrier(jnp.tanh((z + h @ params.w_h) * scale))
        i, f, g, o = jax.lax.split(bent, (width,) * 4, axis=1)
        i, f, o = 0.5 * i + 0.5, 0.5 * f + 0.5, 0.5 * o + 0.5
        after = f * c + i * g
        y = jnp.tanh(after)
        return (after, o * y), (i, f, g, o, c, y, o * y)

    zeros = jnp.zeros((xs.shape[1], width), xs.dtype)
    _, stored = jax.lax.scan(step, (zeros, zeros), xs @ params.w_x + params.b)
    return stored[-1], (params, xs, stored)


def _backward(saved: Any, ys_bar: Array) -> tuple[LSTMParams, Array]:
    params, xs, (i, f, g, o, c, y, hs) = saved
    transposed = params.w_h.T

    def step(carry: tuple[Array, Array], slices: Any) -> tuple[tuple[Array, Array], Array]:
        c_bar, h_bar = carry
        y_bar, i, f, g, o, c, y = slices
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
        return (c_bar * f, z_bar @ transposed), z_bar

    zeros = jnp.zeros_like(hs[0])
    _, z_bars = jax.lax.scan(step, (zeros, zeros), (ys_bar, i, f, g, o, c, y), reverse=True)
    before = jnp.concatenate([zeros[None], hs[:-1]])
    bars = params._replace(w_x=_product(xs, z_bars), w_h=_product(before, z_bars), b=z_bars.sum((0, 1)))
    return bars, z_bars @ params.w_x.T


def _product(left: Array, right: Array) -> Array:
    return jax.lax.dot_general(left, right, (((0, 1), (0, 1)), ((), ())))


lstm.defvjp(_forward, _backward)
