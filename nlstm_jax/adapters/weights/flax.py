"""Weights from and to Flax's LSTM, GRU and simple cells, of NNX and of Linen.

Gate order i, f, g, o and r, z, n as here. Linen has a dense layer for every gate (`ii`, `hi`, …), NNX' optimized cells
one for all of them (`dense_i`, `dense_h`). A bias is the hidden layer's in an LSTM, the input layer's otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    Converted,
    Tensors,
    bare,
    expect,
    gates_of,
    no_such_cell,
    numpy,
    parameter,
)
from nlstm_jax.cells import GRU, LSTM, Elman, ElmanParams, GRUParams, Layer, LSTMParams
from nlstm_jax.types import Array, Params

_ACTIVATIONS = {"candidate_activation": "tanh", "gate_activation": "sigmoid"}
STYLES = ("linen", "nnx")


def from_flax(tensors: Mapping[str, Any], prefix: str = "") -> Converted:
    """The cell whose Flax parameters these are, and its parameters.

    Args:
        tensors: nested or flat (`hi/kernel`) parameters of a Linen `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` or
            `SimpleCell`, or of NNX' cells of these names; e.g. `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`.
        prefix: of the cell's names in a model's parameters, e.g. `"rnn/cell/"`.

    Raises:
        DataError: a tensor is missing, of a wrong shape, or has no place.

    >>> hidden = {"kernel": np.ones((4, 16)), "bias": np.ones(16)}
    >>> from_flax({"dense_i": {"kernel": np.ones((3, 16))}, "dense_h": hidden})[0]
    LSTM(features=4, ...)
    """
    source = Tensors(tensors, "from_flax", prefix)
    if "dense_h/kernel" in source:
        cell = _of_one_layer(source, "dense_i", "dense_h")
    elif "h/kernel" in source:
        cell = _of_one_layer(source, "i", "h")
    elif "hz/kernel" in source:
        cell = _gru_of_gates(source)
    else:
        cell = _lstm_of_gates(source)
    source.finish()
    return cell


def to_flax(cell: Layer, params: Params, *, style: str = "linen") -> dict[str, np.ndarray]:
    """Flat parameters (`hi/kernel`) of the Flax cell that computes the same.

    Args:
        cell: `LSTM`, `GRU` or `Elman`.
        params: its parameters.
        style: "linen" for Linen's cells, "nnx" for NNX' `OptimizedLSTMCell`, `GRUCell` and `SimpleCell`.

    A cell without biases gets zeros. A way there and back changes no bit.

    Raises:
        ValueError: a cell or option that Flax does not have (NNX' GRU has no b_n); the message names it.
    """
    if style not in STYLES:
        raise ValueError(f"to_flax: style: one of {', '.join(STYLES)} expected, found {style!r}")
    cell = bare(cell)
    if not isinstance(cell, LSTM | GRU | Elman):
        raise no_such_cell("to_flax", cell, "an LSTM, GRU or Elman")
    w_x, w_h = numpy(params.w_x), numpy(params.w_h)
    b = np.zeros(w_h.shape[1], w_h.dtype) if params.b is None else numpy(params.b)
    if isinstance(cell, Elman):
        expect("to_flax", cell, activation="tanh")
        names = ("i", "h") if style == "linen" else ("dense_i", "dense_h")
        return {f"{names[0]}/kernel": w_x, f"{names[0]}/bias": b, f"{names[1]}/kernel": w_h}
    if isinstance(cell, LSTM):
        expect("to_flax", cell, gating="multiply", peephole=False, projection=None, layer_norm=False)
        expect("to_flax", cell, output_activation="tanh", **_ACTIVATIONS)
        if style == "nnx":
            return {"dense_i/kernel": w_x, "dense_h/kernel": w_h, "dense_h/bias": b}
        inputs, hidden, biases = (np.split(array, 4, axis=-1) for array in (w_x, w_h, b))
        tensors = {f"i{gate}/kernel": w for gate, w in zip("ifgo", inputs, strict=True)}
        tensors |= {f"h{gate}/kernel": w for gate, w in zip("ifgo", hidden, strict=True)}
        return tensors | {f"h{gate}/bias": w for gate, w in zip("ifgo", biases, strict=True)}
    expect("to_flax", cell, reset_after=True, **_ACTIVATIONS)
    b_n = np.zeros(cell.features, w_h.dtype) if params.b_n is None else numpy(params.b_n)
    if style == "nnx":
        if b_n.any():
            raise ValueError("to_flax: GRU: b_n: zeros expected, as NNX' GRUCell has no such bias; Linen's has")
        return {"dense_i/kernel": w_x, "dense_i/bias": b, "dense_h/kernel": w_h}
    inputs, hidden, biases = (np.split(array, 3, axis=-1) for array in (w_x, w_h, b))
    tensors = {f"i{gate}/kernel": w for gate, w in zip("rzn", inputs, strict=True)}
    tensors |= {f"i{gate}/bias": w for gate, w in zip("rzn", biases, strict=True)}
    return tensors | {f"h{gate}/kernel": w for gate, w in zip("rzn", hidden, strict=True)} | {"hn/bias": b_n}


def _of_one_layer(source: Tensors, inputs: str, hidden: str) -> Converted:
    """NNX' cells, and the simple ones, by the number of gates."""
    w_h = source.take(f"{hidden}/kernel", None, None)
    features, width = w_h.shape
    gates = gates_of(width, features)
    if gates is None:
        raise source.validation_error(
            f"{hidden}/kernel", f"[H, H], [H, 3H] or [H, 4H] expected, found {list(w_h.shape)}"
        )
    kernels = parameter(source.take(f"{inputs}/kernel", None, width)), parameter(w_h)
    b = parameter(source.take(f"{hidden if gates == 4 else inputs}/bias", width))
    if gates == 4:
        return LSTM(features), LSTMParams(*kernels, b, None, None, None)
    if gates == 3:
        return GRU(features), GRUParams(*kernels, b, parameter(np.zeros(features, w_h.dtype)))
    return Elman(features), ElmanParams(*kernels, b)


def _lstm_of_gates(source: Tensors) -> Converted:
    features = source.take("hi/kernel", None, None).shape[0]
    # NNX' LSTMCell has if_, as `if` is a word of Python.
    forget = "if_" if "if_/kernel" in source else "if"
    w_x = _kernels(source, ("ii", forget, "ig", "io"), features)
    w_h = [source.take(f"h{gate}/kernel", features, features) for gate in "ifgo"]
    b = [source.take(f"h{gate}/bias", features) for gate in "ifgo"]
    return LSTM(features), LSTMParams(*_side_by_side(w_x, w_h, b), None, None, None)


def _gru_of_gates(source: Tensors) -> Converted:
    features = source.take("hr/kernel", None, None).shape[0]
    w_x = _kernels(source, ("ir", "iz", "in"), features)
    w_h = [source.take(f"h{gate}/kernel", features, features) for gate in "rzn"]
    b = [source.take(f"i{gate}/bias", features) for gate in "rzn"]
    return GRU(features), GRUParams(*_side_by_side(w_x, w_h, b), parameter(source.take("hn/bias", features)))


def _kernels(source: Tensors, names: tuple[str, ...], features: int) -> list[np.ndarray]:
    """The gates' kernels on the input, all of as many rows as the first."""
    first = source.take(f"{names[0]}/kernel", None, features)
    return [first, *(source.take(f"{name}/kernel", first.shape[0], features) for name in names[1:])]


def _side_by_side(*gates: list[np.ndarray]) -> tuple[Array, Array, Array]:
    """Every gate's W_x, W_h and b as one each."""
    w_x, w_h, b = (parameter(np.concatenate(blocks, axis=-1)) for blocks in gates)
    return w_x, w_h, b
