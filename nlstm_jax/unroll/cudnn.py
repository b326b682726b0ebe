"""The plain LSTM by NVIDIA's cuDNN, through `jax.experimental.rnn`: one kernel for all steps."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from nlstm_jax.cells import LSTM, Bidirectional, Layer, Stack, spec_repr
from nlstm_jax.cells.lstm import LSTMCarry, LSTMParams
from nlstm_jax.types import Array, Float, Int, Params


def check(layer: Layer, params: Params, **unsupported: object) -> None:
    """Check that cuDNN can run a layer.

    Args:
        layer: The layer: a plain LSTM, or a stack of plain LSTMs, also in both directions.
        params: Its parameters, which must be float32.
        unsupported: The options of `unroll` that cuDNN does not support, by name; each must be None or False.

    Raises:
        ValueError: cuDNN cannot run the layer, an option is used that it does not support, or there is no NVIDIA GPU.
    """
    for cell in _cells(layer):
        is_plain = isinstance(cell, LSTM) and _without_initialization(cell) == LSTM(cell.features)
        if not is_plain:
            raise ValueError(f"unroll: mode='cudnn': an LSTM without options expected, found {spec_repr(cell)}")

    for name, value in unsupported.items():
        if value is not None and value is not False:
            raise ValueError(f"unroll: mode='cudnn': no {name} expected, which cuDNN has not got, found {value!r}")

    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    other_dtypes = sorted(dtypes - {"float32"})
    if other_dtypes:
        raise ValueError(f"unroll: mode='cudnn': parameters of float32 expected, found {other_dtypes[0]}")

    backend = jax.default_backend()
    if backend != "gpu" or "NVIDIA" not in jax.devices()[0].device_kind.upper():
        raise ValueError(f"unroll: mode='cudnn': an NVIDIA GPU expected, found {jax.devices()[0].device_kind}")


def lstm(
    params: LSTMParams, xs: Float[Array, "T B D"], carry: LSTMCarry, lengths: Int[Array, "B"] | None, reverse: bool
) -> tuple[LSTMCarry, Float[Array, "T B H"]]:
    """Run an LSTM along a batch of sequences.

    Args:
        params: The parameters of an LSTM without options.
        xs: The inputs [T, B, D].
        carry: The carry to start from.
        lengths: The number of steps of each sequence; None: all have T steps.
        reverse: True to run from the last valid step to the first.
    """
    length, batch, width = xs.shape
    features = params.w_h.shape[0]
    if lengths is None:
        lengths = jnp.full((batch,), length, jnp.int32)
    steps = lengths.astype(jnp.int32)
    if reverse:
        xs = _reverse_sequences(xs, steps)

    # cuDNN has two biases; the second one is zero.
    zeros = jnp.zeros(4 * features, jnp.float32)
    b = zeros if params.b is None else params.b
    leaves = (params.w_x, params.w_h, b, zeros)
    weights = jnp.concatenate([leaf.T.reshape(-1) for leaf in leaves])

    # cuDNN takes no empty sequences. They are run for one step, and that step is then undone.
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
    is_empty = (steps == 0)[:, None]
    last_carry = LSTMCarry(jnp.where(is_empty, carry.c, c[0]), jnp.where(is_empty, carry.h, h[0]))
    ys = jnp.where(is_empty, 0.0, jnp.swapaxes(ys, 0, 1))
    if reverse:
        ys = _reverse_sequences(ys, steps)
    return last_carry, ys


def _reverse_sequences(xs: Float[Array, "T B D"], lengths: Int[Array, "B"]) -> Float[Array, "T B D"]:
    """Reverse the valid steps of every sequence; padding stays where it is."""
    steps = jnp.arange(xs.shape[0])[:, None]
    sources = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(xs, sources[..., None], axis=0)


def _cells(layer: Layer) -> list[Layer]:
    """Return the single cells of a layer."""
    if isinstance(layer, Stack):
        return [cell for inner_layer in layer.cells for cell in _cells(inner_layer)]
    if isinstance(layer, Bidirectional):
        return [*_cells(layer.forward), *_cells(layer.backward)]
    return [layer]


def _without_initialization(cell: LSTM) -> LSTM:
    """Return the cell with the default initial values, and with a bias: a missing one is run as zeros."""
    return dataclasses.replace(cell, forget_bias=1.0, init_scheme="default", use_bias=True)
