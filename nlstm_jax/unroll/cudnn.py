"""The plain LSTM by NVIDIA's cuDNN, through `jax.experimental.rnn`: one kernel for all of time."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from nlstm_jax.cells import LSTM, Bidirectional, Layer, Stack, spec_repr
from nlstm_jax.cells.lstm import LSTMCarry, LSTMParams
from nlstm_jax.types import Array, Float, Int


def check(layer: Layer, params: Any, **without: Any) -> None:
    """Raise a ValueError unless cuDNN can run this.

    Args:
        layer: a plain LSTM, or a stack of such, also in both directions.
        params: its parameters: cuDNN takes float32.
        without: what it has not got, by name; each must be None or False.
    """
    for each in _single(layer):
        plain = isinstance(each, LSTM) and _without_initial_values(each) == LSTM(each.features)
        if not plain:
            raise ValueError(f"unroll: mode='cudnn': an LSTM without options expected, found {spec_repr(each)}")
    for name, given in without.items():
        if given is not None and given is not False:
            raise ValueError(f"unroll: mode='cudnn': no {name} expected, which cuDNN has not got, found {given!r}")
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {"float32"})
    if dtypes:
        raise ValueError(f"unroll: mode='cudnn': parameters of float32 expected, found {dtypes[0]}")
    backend = jax.default_backend()
    if backend != "gpu" or "NVIDIA" not in jax.devices()[0].device_kind.upper():
        raise ValueError(f"unroll: mode='cudnn': an NVIDIA GPU expected, found {jax.devices()[0].device_kind}")


def lstm(
    params: LSTMParams, xs: Float[Array, "T B D"], carry: LSTMCarry, lengths: Int[Array, "B"] | None, reverse: bool
) -> tuple[LSTMCarry, Float[Array, "T B H"]]:
    """Run an LSTM over time.

    Args:
        params: of an LSTM without options.
        xs: inputs.
        carry: to start from.
        lengths: how many steps each sequence has; None: all.
        reverse: from the last valid step to the first.
    """
    length, batch, width = xs.shape
    features = params.w_h.shape[0]
    steps = jnp.full((batch,), length, jnp.int32) if lengths is None else lengths.astype(jnp.int32)
    if reverse:
        xs = _reversed(xs, steps)
    zeros = jnp.zeros(4 * features, jnp.float32)
    b = zeros if params.b is None else params.b
    weights = jnp.concatenate([leaf.T.reshape(-1) for leaf in (params.w_x, params.w_h, b, zeros)])
    # cuDNN takes no empty sequences: they are run for a step, which is then taken back.
    ys, h, c = rnn.lstm(
        jnp.swapaxes(xs, 0, 1),
        carry.h[None],
        carry.c[None],
        weights,
        jnp.maximum(steps, 1),
        input_size=width,
        hidden_size=features,
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
    )
    empty = (steps == 0)[:, None]
    end = LSTMCarry(jnp.where(empty, carry.c, c[0]), jnp.where(empty, carry.h, h[0]))
    ys = jnp.where(empty, 0.0, jnp.swapaxes(ys, 0, 1))
    return end, _reversed(ys, steps) if reverse else ys


def _reversed(xs: Float[Array, "T B D"], steps: Int[Array, "B"]) -> Float[Array, "T B D"]:
    """Every sequence from its last valid step to its first; padding stays where it is."""
    places = jnp.arange(xs.shape[0])[:, None]
    return jnp.take_along_axis(xs, jnp.where(places < steps, steps - 1 - places, places)[..., None], axis=0)


def _single(layer: Layer) -> list[Layer]:
    if isinstance(layer, Stack):
        return [single for each in layer.cells for single in _single(each)]
    if isinstance(layer, Bidirectional):
        return [*_single(layer.forward), *_single(layer.backward)]
    return [layer]


def _without_initial_values(cell: LSTM) -> LSTM:
    """The cell, but for what decides on initial values alone, and a bias, which may be zero."""
    return dataclasses.replace(cell, forget_bias=1.0, init_scheme="default", use_bias=True)
