"""Weights of TensorFlow 1's `BasicLSTMCell` and `LSTMCell`, alone or in a `MultiRNNCell`.

One `kernel` on [x, h], gate order i, g, f, o; the forget bias is added in the forward pass there, and put into b here;
peepholes are diagonal, o's sees the new memory.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from nlstm_jax.adapters.weights.tensors import Converted, Tensors, natural, parameter, reordered, stacked
from nlstm_jax.cells import LSTM, LSTMParams

# i g f o ↔ i f g o
_ORDER = (0, 2, 1, 3)
_PEEPHOLES = ("w_i_diag", "w_f_diag", "w_o_diag")


def from_tensorflow1(
    tensors: Mapping[str, Any], prefix: str = "", *, forget_bias: float = 1.0, activation: str = "tanh"
) -> Converted:
    """The LSTM, or stack of LSTMs, whose TensorFlow 1 variables these are, and its parameters.

    Args:
        tensors: arrays by the variables' names, e.g. `rnn/multi_rnn_cell/cell_0/lstm_cell/kernel`, with `bias`, the
            peepholes `w_i_diag`, `w_f_diag`, `w_o_diag`, and `projection/kernel`; layers in the order of the numbers.
        prefix: of the cell's names in a checkpoint.
        forget_bias: the cell's argument; its default there is 1.0.
        activation: the cell's, by name; the variables do not tell.

    Returns:
        `LSTM`, with peepholes or a projection where there are such; several in a `Stack`.

    Raises:
        DataError: a tensor is missing, of a wrong shape, or has no place.

    >>> from_tensorflow1({"lstm_cell/kernel": np.ones((3 + 4, 16)), "lstm_cell/bias": np.zeros(16)})[1].b[4:8].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    source = Tensors(tensors, "from_tensorflow1", prefix)
    places = [name.removesuffix("bias") for name in source.names if name.rpartition("/")[2] == "bias"]
    places = sorted(places, key=natural) or [""]
    layers: list[Converted] = []
    for place in places:
        below = layers[-1][0].out_features if layers else None
        layers.append(_cell_from(source, place, below, forget_bias, activation))
    source.finish()
    return stacked(layers)


def _cell_from(source: Tensors, place: str, features: int | None, forget_bias: float, activation: str) -> Converted:
    bias = source.take(f"{place}bias", None)
    width = bias.shape[0]
    hidden = width // 4
    if not hidden or width % 4:
        raise source.validation_error(f"{place}bias", f"4 blocks of one length expected, found {list(bias.shape)}")
    projection = w_p = peephole = None
    if f"{place}projection/kernel" in source:
        w_p = parameter(source.take(f"{place}projection/kernel", hidden, None))
        projection = w_p.shape[1]
    if f"{place}{_PEEPHOLES[0]}" in source:
        peephole = parameter(np.stack([source.take(f"{place}{name}", hidden) for name in _PEEPHOLES]))
    out = projection or hidden
    kernel = source.take(f"{place}kernel", None if features is None else features + out, 4 * hidden)
    features = kernel.shape[0] - out
    if features < 1:
        raise source.validation_error(
            f"{place}kernel", f"rows for an input and for h expected, found {list(kernel.shape)}"
        )
    w_x, w_h = np.split(reordered(kernel, _ORDER), [features])
    b = parameter(reordered(bias, _ORDER)) + jnp.repeat(jnp.array([0.0, forget_bias, 0.0, 0.0]), hidden)
    cell = LSTM(
        hidden,
        forget_bias=forget_bias,
        candidate_activation=activation,
        output_activation=activation,
        peephole=peephole is not None,
        projection=projection,
    )
    return cell, LSTMParams(parameter(w_x), parameter(w_h), b, peephole, w_p, None)
