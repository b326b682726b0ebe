"""Weights from and to Flax's LSTM, GRU and simple cells, of NNX and of Linen.

The gate order is the same as here: i, f, g, o in an LSTM and r, z, n in a GRU. Linen has one dense layer for every
gate (`ii`, `hi`, …). NNX' optimized cells have one dense layer for all gates (`dense_i`, `dense_h`). In an LSTM the
bias belongs to the hidden layer; in the other cells it belongs to the input layer.
"""

from collections.abc import Sequence

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    Converted,
    NamedTensors,
    Tensors,
    check_options,
    count_gates,
    to_numpy,
    to_parameter,
    unsupported_cell_error,
    without_dropout,
)
from nlstm_jax.cells import GRU, LSTM, Elman, ElmanParams, GRUParams, Layer, LSTMParams
from nlstm_jax.types import Array, Params

_ACTIVATIONS = {"candidate_activation": "tanh", "gate_activation": "sigmoid"}
_LSTM_GATES = ("i", "f", "g", "o")
_GRU_GATES = ("r", "z", "n")
STYLES = ("linen", "nnx")


def from_flax(
    tensors: NamedTensors, prefix: str = "", *, activation: str | None = None, gate_activation: str | None = None
) -> Converted:
    """Return the cell of these Flax parameters and its parameters.

    Args:
        tensors: The nested or flat (`hi/kernel`) parameters of a Linen `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` or
            `SimpleCell`, or of the NNX cells with these names; e.g. `nnx.to_pure_dict(nnx.state(cell, nnx.Param))`.
        prefix: The beginning of the cell's names in a model's parameters, e.g. `"rnn/cell/"`.
        activation: The name of the cell's `activation_fn`, tanh by default. It cannot be read off the parameters.
        gate_activation: The name of the cell's `gate_fn`, sigmoid by default.

    Raises:
        DataError: A tensor is missing, has a wrong shape, or has no place; or an option is passed that the cell lacks.

    >>> hidden = {"kernel": np.ones((4, 16)), "bias": np.ones(16)}
    >>> from_flax({"dense_i": {"kernel": np.ones((3, 16))}, "dense_h": hidden})[0]
    LSTM(features=4, ...)
    """
    options = {"activation": (activation, "tanh"), "gate_activation": (gate_activation, "sigmoid")}
    source = Tensors(tensors, "from_flax", prefix, options)
    if "dense_h/kernel" in source:
        converted = _read_joint_gates(source, "dense_i", "dense_h")
    elif "h/kernel" in source:
        converted = _read_joint_gates(source, "i", "h")
    elif "hz/kernel" in source:
        converted = _read_gru(source)
    else:
        converted = _read_lstm(source)
    source.check_all_used()
    return converted


def to_flax(cell: Layer, params: Params, *, style: str = "linen") -> dict[str, np.ndarray]:
    """Return the flat parameters (`hi/kernel`) of the Flax cell that computes the same function.

    A cell without biases gets zeros. A round trip (`to_flax`, then `from_flax`) changes no bit.

    Args:
        cell: The cell to convert: an `LSTM`, `GRU` or `Elman`.
        params: The cell's parameters.
        style: The naming of the result: "linen" for Linen's cells, "nnx" for NNX' `OptimizedLSTMCell`, `GRUCell` and
            `SimpleCell`.

    Raises:
        ValueError: Flax has no such cell or option (NNX' GRU has no b_n); the message names it.
    """
    if style not in STYLES:
        raise ValueError(f"to_flax: style: one of {', '.join(STYLES)} expected, found {style!r}")
    cell = without_dropout(cell)
    if isinstance(cell, LSTM):
        return _lstm_to_tensors(cell, params, style)
    if isinstance(cell, GRU):
        return _gru_to_tensors(cell, params, style)
    if isinstance(cell, Elman):
        return _elman_to_tensors(cell, params, style)
    raise unsupported_cell_error("to_flax", cell, "an LSTM, GRU or Elman")


def _elman_to_tensors(cell: Elman, params: Params, style: str) -> dict[str, np.ndarray]:
    check_options("to_flax", cell, activation="tanh")
    name_prefix = "" if style == "linen" else "dense_"
    return {
        f"{name_prefix}i/kernel": to_numpy(params.w_x),
        f"{name_prefix}i/bias": _bias_or_zeros(params),
        f"{name_prefix}h/kernel": to_numpy(params.w_h),
    }


def _lstm_to_tensors(cell: LSTM, params: Params, style: str) -> dict[str, np.ndarray]:
    check_options("to_flax", cell, gating="multiply", peephole=False, projection=None, layer_norm=False)
    check_options("to_flax", cell, output_activation="tanh", **_ACTIVATIONS)
    w_x = to_numpy(params.w_x)
    w_h = to_numpy(params.w_h)
    b = _bias_or_zeros(params)
    if style == "nnx":
        return {"dense_i/kernel": w_x, "dense_h/kernel": w_h, "dense_h/bias": b}
    return {
        **_split_gates(w_x, "i{}/kernel", _LSTM_GATES),
        **_split_gates(w_h, "h{}/kernel", _LSTM_GATES),
        **_split_gates(b, "h{}/bias", _LSTM_GATES),
    }


def _gru_to_tensors(cell: GRU, params: Params, style: str) -> dict[str, np.ndarray]:
    check_options("to_flax", cell, reset_after=True, **_ACTIVATIONS)
    w_x = to_numpy(params.w_x)
    w_h = to_numpy(params.w_h)
    b = _bias_or_zeros(params)
    b_n = np.zeros(cell.features, w_h.dtype)
    if params.b_n is not None:
        b_n = to_numpy(params.b_n)

    if style == "nnx":
        if b_n.any():
            raise ValueError("to_flax: GRU: b_n: zeros expected, as NNX' GRUCell has no such bias; Linen's has")
        return {"dense_i/kernel": w_x, "dense_i/bias": b, "dense_h/kernel": w_h}
    return {
        **_split_gates(w_x, "i{}/kernel", _GRU_GATES),
        **_split_gates(b, "i{}/bias", _GRU_GATES),
        **_split_gates(w_h, "h{}/kernel", _GRU_GATES),
        "hn/bias": b_n,
    }


def _bias_or_zeros(params: Params) -> np.ndarray:
    """Return the bias [G·H], or zeros of the dtype of `w_h` if the cell has none."""
    if params.b is None:
        w_h = to_numpy(params.w_h)
        return np.zeros(w_h.shape[1], w_h.dtype)
    return to_numpy(params.b)


def _split_gates(array: np.ndarray, name_format: str, gates: Sequence[str]) -> dict[str, np.ndarray]:
    """Return one tensor per gate, named by `name_format` with the gate's letter put in for `{}`."""
    blocks = np.split(array, len(gates), axis=-1)
    return {name_format.format(gate): block for gate, block in zip(gates, blocks, strict=True)}


def _read_joint_gates(source: Tensors, input_name: str, hidden_name: str) -> Converted:
    """Return a cell that has one dense layer for all gates; the number of gates tells the kind of cell.

    Args:
        source: The tensors.
        input_name: The name of the dense layer on the input.
        hidden_name: The name of the dense layer on the hidden state.
    """
    w_h = source.take(f"{hidden_name}/kernel", None, None)
    features, width = w_h.shape
    gates = count_gates(width, features)
    if gates is None:
        raise source.tensor_error(
            f"{hidden_name}/kernel", f"[H, H], [H, 3H] or [H, 4H] expected, found {list(w_h.shape)}"
        )
    w_x = source.take(f"{input_name}/kernel", None, width)
    bias_owner = hidden_name if gates == 4 else input_name
    b = to_parameter(source.take(f"{bias_owner}/bias", width))

    kernels = (to_parameter(w_x), to_parameter(w_h))
    if gates == 4:
        return _lstm(source, features), LSTMParams(*kernels, b, peephole=None, w_p=None, norm=None)
    if gates == 3:
        b_n = to_parameter(np.zeros(features, w_h.dtype))
        return _gru(source, features), GRUParams(*kernels, b, b_n)
    return Elman(features, activation=source.option("activation")), ElmanParams(*kernels, b)


def _lstm(source: Tensors, features: int) -> LSTM:
    """Return an LSTM with the activations that the caller told."""
    activation = source.option("activation")
    return LSTM(
        features,
        candidate_activation=activation,
        output_activation=activation,
        gate_activation=source.option("gate_activation"),
    )


def _gru(source: Tensors, features: int) -> GRU:
    """Return a GRU with the activations that the caller told."""
    activation = source.option("activation")
    return GRU(features, candidate_activation=activation, gate_activation=source.option("gate_activation"))


def _read_lstm(source: Tensors) -> Converted:
    """Return an LSTM that has one dense layer for every gate."""
    features = source.take("hi/kernel", None, None).shape[0]
    # NNX' LSTMCell has if_, as `if` is a keyword of Python.
    forget_name = "if_" if "if_/kernel" in source else "if"
    input_blocks = _take_input_kernels(source, ("ii", forget_name, "ig", "io"), features)
    hidden_blocks = [source.take(f"h{gate}/kernel", features, features) for gate in _LSTM_GATES]
    bias_blocks = [source.take(f"h{gate}/bias", features) for gate in _LSTM_GATES]

    w_x = _join_gates(input_blocks)
    w_h = _join_gates(hidden_blocks)
    b = _join_gates(bias_blocks)
    return _lstm(source, features), LSTMParams(w_x, w_h, b, peephole=None, w_p=None, norm=None)


def _read_gru(source: Tensors) -> Converted:
    """Return a GRU that has one dense layer for every gate."""
    features = source.take("hr/kernel", None, None).shape[0]
    input_blocks = _take_input_kernels(source, ("ir", "iz", "in"), features)
    hidden_blocks = [source.take(f"h{gate}/kernel", features, features) for gate in _GRU_GATES]
    bias_blocks = [source.take(f"i{gate}/bias", features) for gate in _GRU_GATES]
    b_n = to_parameter(source.take("hn/bias", features))

    w_x = _join_gates(input_blocks)
    w_h = _join_gates(hidden_blocks)
    b = _join_gates(bias_blocks)
    return _gru(source, features), GRUParams(w_x, w_h, b, b_n)


def _take_input_kernels(source: Tensors, names: Sequence[str], features: int) -> list[np.ndarray]:
    """Return the kernels [D, H] of the named dense layers, all with as many rows as the first."""
    first_name, *other_names = names
    first = source.take(f"{first_name}/kernel", None, features)
    in_features = first.shape[0]
    others = [source.take(f"{name}/kernel", in_features, features) for name in other_names]
    return [first, *others]


def _join_gates(blocks: list[np.ndarray]) -> Array:
    """Return the gates' arrays as one parameter, side by side on the last axis."""
    return to_parameter(np.concatenate(blocks, axis=-1))
