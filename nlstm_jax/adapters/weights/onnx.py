"""Weights to the recurrent operators of ONNX: `LSTM`, `GRU` and `RNN`.

ONNX stores weights as [1, gates·H, D]. Its gate order is i, o, f, c in an LSTM and z, r, h in a GRU. An operator has
two biases and uses their sum. The exception is a GRU's h, whose second bias stands inside r ⊙ (·).
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    check_options,
    reorder_gates,
    to_numpy,
    unsupported_cell_error,
    without_dropout,
)
from nlstm_jax.cells import GRU, LSTM, Elman, ElmanParams, GRUParams, Layer, LSTMParams
from nlstm_jax.types import Params

_IOFC = (0, 3, 1, 2)
"""The blocks i, f, g, o of an LSTM in the order of ONNX: input, output, forget, cell."""

_IOF = (0, 2, 1)
"""The peepholes i, f, o in the order of ONNX."""

_ZRH = (1, 0, 2)
"""The blocks r, z, n of a GRU in the order of ONNX: update, reset, hidden."""

_ACTIVATIONS: dict[str, tuple[str, tuple[float, float] | None]] = {
    "tanh": ("Tanh", None),
    "sigmoid": ("Sigmoid", None),
    "identity": ("Affine", (1.0, 0.0)),
    "relu": ("Relu", None),
    "hard_sigmoid": ("HardSigmoid", (1 / 6, 0.5)),
    "hard_sigmoid_keras2": ("HardSigmoid", (0.2, 0.5)),
    "softsign": ("Softsign", None),
}
"""The activations of `cells.base.ACTIVATIONS` in ONNX: the name of each function, and its alpha and beta or None."""

Attributes: TypeAlias = dict[str, int | list[str] | list[float]]


class Operator(NamedTuple):
    """A recurrent operator of ONNX with its weights, for one direction.

    Attributes:
        name: The type of the operator.
        attributes: Its attributes, without `direction`.
        w: The input weights [1, gates·H, D].
        r: The recurrent weights [1, gates·H, H].
        b: Both biases, one after the other, [1, 2·gates·H]. None without biases.
        peephole: The peepholes [1, 3·H] of an LSTM, or None.
    """

    name: str
    attributes: Attributes
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray | None
    peephole: np.ndarray | None


def to_onnx(cell: Layer, params: Params) -> Operator:
    """Return the operator of ONNX that computes the same function as a cell.

    Dropout is left out, as it has no effect in an evaluation.

    Args:
        cell: An `LSTM`, `GRU` or `Elman` cell, which may be inside a `VariationalDropout`.
        params: The parameters of the cell.

    Raises:
        ValueError: ONNX has no such cell or option; the message names it.

    Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, and the pages of GRU and RNN beside it.

    >>> import jax
    >>> cell = LSTM(features=4)
    >>> operator: Operator = to_onnx(cell, cell.init(jax.random.key(0), in_features=3))
    >>> operator.name, operator.w.shape, operator.r.shape, operator.b.shape
    ('LSTM', (1, 16, 3), (1, 16, 4), (1, 32))
    """
    cell = without_dropout(cell)
    if not isinstance(cell, LSTM | GRU | Elman):
        raise unsupported_cell_error("to_onnx", cell, "an LSTM, GRU or Elman")
    # ONNX computes in the dtype of the weights.
    check_options("to_onnx", cell, dtype=(None, "float32"))
    if isinstance(cell, LSTM):
        return _convert_lstm(cell, params)
    if isinstance(cell, GRU):
        return _convert_gru(cell, params)
    return _convert_elman(cell, params)


def _convert_lstm(cell: LSTM, params: LSTMParams) -> Operator:
    """Return the operator of an LSTM.

    Raises:
        ValueError: ONNX has no such option.
    """
    check_options("to_onnx", cell, gating="multiply", projection=None, layer_norm=False)
    activations = _activations(cell.gate_activation, cell.candidate_activation, cell.output_activation)
    b = None
    if params.b is not None:
        first_bias = reorder_gates(to_numpy(params.b), _IOFC)
        b = np.concatenate([first_bias, np.zeros_like(first_bias)])
    peephole = None
    if params.peephole is not None:
        peephole = to_numpy(params.peephole)[list(_IOF)].reshape(-1)
    return _make_operator("LSTM", {"hidden_size": cell.features, **activations}, params, _IOFC, b, peephole)


def _convert_gru(cell: GRU, params: GRUParams) -> Operator:
    """Return the operator of a GRU."""
    attributes: Attributes = {"hidden_size": cell.features, "linear_before_reset": int(cell.reset_after)}
    b = None
    if params.b is not None:
        first_bias = reorder_gates(to_numpy(params.b), _ZRH)
        second_bias = np.zeros_like(first_bias)
        if params.b_n is not None:
            second_bias[2 * cell.features :] = to_numpy(params.b_n)
        b = np.concatenate([first_bias, second_bias])
    attributes |= _activations(cell.gate_activation, cell.candidate_activation)
    return _make_operator("GRU", attributes, params, _ZRH, b)


def _convert_elman(cell: Elman, params: ElmanParams) -> Operator:
    """Return the operator of an Elman cell."""
    b = None
    if params.b is not None:
        first_bias = to_numpy(params.b)
        b = np.concatenate([first_bias, np.zeros_like(first_bias)])
    return _make_operator("RNN", {"hidden_size": cell.features, **_activations(cell.activation)}, params, (0,), b)


def _make_operator(
    name: str,
    attributes: Attributes,
    params: LSTMParams | GRUParams | ElmanParams,
    order: tuple[int, ...],
    b: np.ndarray | None,
    peephole: np.ndarray | None = None,
) -> Operator:
    """Return an operator, with an axis of length 1 for its direction before every array."""
    w = reorder_gates(to_numpy(params.w_x), order).T
    r = reorder_gates(to_numpy(params.w_h), order).T
    return Operator(
        name,
        attributes,
        np.ascontiguousarray(w)[None],
        np.ascontiguousarray(r)[None],
        None if b is None else b[None],
        None if peephole is None else peephole[None],
    )


def _activations(*names: str) -> Attributes:
    """Return the attributes of an operator that name its activations.

    `activation_alpha` and `activation_beta` have one number for each activation that has parameters.
    """
    functions = [_ACTIVATIONS[name][0] for name in names]
    constants = [_ACTIVATIONS[name][1] for name in names]
    attributes: Attributes = {"activations": functions}
    pairs = [pair for pair in constants if pair is not None]
    if pairs:
        attributes["activation_alpha"] = [alpha for alpha, _ in pairs]
        attributes["activation_beta"] = [beta for _, beta in pairs]
    return attributes
