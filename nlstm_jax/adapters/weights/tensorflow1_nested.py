"""Weights of the Nested LSTM cell for TensorFlow 1, `NLSTMCell` of https://github.com/hannw/nlstm.

Every level has gates i, g, f, o of one product on [x, h], and adds the forget bias in the forward pass if it has a
bias. The outermost level has `input_gate_kernel` and `hidden_gate_kernel`, in earlier versions `kernel_0`. Level k ≥ 1
has `kernel_k`. The equations are those of `Nested` with gating="multiply". In the earlier versions the candidate of
the outermost level has the activation of the inner ones.
"""

import re

import numpy as np

from nlstm_jax.adapters.weights.tensors import Converted, Tensors, reorder_gates, to_parameter
from nlstm_jax.cells import LSTMParams, NestedParams, nested_lstm

_GATE_ORDER = (0, 2, 1, 3)
"""The gates i, g, f, o as i, f, g, o. The order is its own inverse."""
FIRST_KERNELS = ("hidden_gate_kernel", "kernel_0")
"""The last part of a name that only this cell has."""


def read_nested_lstm(
    source: Tensors,
    scope: str,
    in_features: int | None,
    forget_bias: float,
    activation: str,
    gate_activation: str,
    cell_activation: str | None,
) -> Converted:
    """Return the Nested LSTM in a variable scope and its parameters.

    Args:
        source: The tensors.
        scope: The beginning of the cell's names, e.g. `rnn/nlstm_cell/`.
        in_features: The expected width of the input; None accepts any.
        forget_bias: The value that TensorFlow adds to the forget gate of every level.
        activation: The name of the activation of the outputs and of the inner candidates.
        gate_activation: The name of the activation of the gates.
        cell_activation: The name of the activation of the outermost candidate; None: the default of the version that
            has these names.

    Raises:
        DataError: A tensor is missing or has a wrong shape; or the cell has peepholes.
    """
    peepholes = f"{scope}peep_kernel_0"
    if peepholes in source:
        raise source.tensor_error(peepholes, "a cell without peepholes expected, as these are not diagonal")

    kernels = _read_kernels(source, scope, in_features)
    features = kernels[0][1].shape[0]
    use_bias = f"{scope}bias_0" in source
    added_bias = np.repeat([0.0, forget_bias, 0.0, 0.0], features)

    # The innermost level is read first, as the parameters of every other level contain those of the next one.
    params: LSTMParams | NestedParams | None = None
    for level, (kernel, recurrent_kernel) in reversed(list(enumerate(kernels))):
        w_x = to_parameter(reorder_gates(kernel, _GATE_ORDER))
        w_h = to_parameter(reorder_gates(recurrent_kernel, _GATE_ORDER))
        b = None
        if use_bias:
            bias = source.take(f"{scope}bias_{level}", 4 * features)
            b = to_parameter(reorder_gates(bias, _GATE_ORDER)) + added_bias.astype(w_x.dtype)
        if params is None:
            params = LSTMParams(w_x, w_h, b, peephole=None, w_p=None, norm=None)
        else:
            params = NestedParams(w_x, w_h, b, inner=params)

    if cell_activation is None:
        has_cell_activation = f"{scope}hidden_gate_kernel" in source
        cell_activation = "identity" if has_cell_activation else activation
    cell = nested_lstm(
        features,
        len(kernels),
        candidate_activation=cell_activation,
        inner_activation=activation,
        output_activation=activation,
        gate_activation=gate_activation,
        forget_bias=forget_bias if use_bias else 0.0,
        use_bias=use_bias,
    )
    return cell, params


def _read_kernels(source: Tensors, scope: str, in_features: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the kernels [D, 4H] and recurrent kernels [H, 4H] of all levels, outermost first."""
    if f"{scope}hidden_gate_kernel" in source:
        recurrent_kernel = source.take(f"{scope}hidden_gate_kernel", None, None)
        features = recurrent_kernel.shape[0]
        source.take(f"{scope}hidden_gate_kernel", features, 4 * features)
        kernel = source.take(f"{scope}input_gate_kernel", in_features, 4 * features)
    else:
        both = source.take(f"{scope}kernel_0", None, None)
        features = both.shape[1] // 4
        input_rows = both.shape[0] - features
        if both.shape[1] % 4 or not features or input_rows < 1 or input_rows != (in_features or input_rows):
            raise source.tensor_error(
                f"{scope}kernel_0",
                f"[{in_features or 'D'} + H, 4H] expected, found {list(both.shape)}",
            )
        kernel, recurrent_kernel = np.split(both, [input_rows])

    inner_levels = sum(bool(re.fullmatch(rf"{re.escape(scope)}kernel_[1-9]\d*", name)) for name in source.names)
    inner = [source.take(f"{scope}kernel_{level}", 2 * features, 4 * features) for level in range(1, inner_levels + 1)]
    halves = [(both[:features], both[features:]) for both in inner]
    return [(kernel, recurrent_kernel), *halves]
