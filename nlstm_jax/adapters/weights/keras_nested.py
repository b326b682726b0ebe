"""Weights from and to the widely copied Keras Nested LSTM layer, whose gating is additive.

Its gate order is i, g, f, o, and its `kernel_k` for k ≥ 2 has the input's rows above the recurrent ones.
"""

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    Converted,
    Tensors,
    check_options,
    reorder_gates,
    to_numpy,
    to_parameter,
    unsupported_cell_error,
    without_dropout,
)
from nlstm_jax.cells import LSTM, Layer, LSTMParams, Nested, NestedParams, nested_lstm
from nlstm_jax.types import Params

_GATE_ORDER = (0, 2, 1, 3)
"""The gates i, g, f, o as i, f, g, o. The order is its own inverse."""


def read_nested_lstm(source: Tensors, activation: str, gate_activation: str, cell_activation: str) -> Converted:
    """Return the Nested LSTM in these tensors.

    Args:
        source: The tensors: `input_kernel_1`, `kernel_1`, `bias_1`, `kernel_2`, ….
        activation: The name of the activation of the outputs and of the inner candidates.
        gate_activation: The name of the activation of the gates.
        cell_activation: The name of the activation of the outermost candidate.
    """
    depth = sum(name.startswith("kernel_") for name in source.names)
    features = source.take("kernel_1", None, None).shape[0]
    use_bias = "bias_1" in source

    # The innermost level is read first, as the parameters of every other level contain those of the next one.
    params: LSTMParams | NestedParams | None = None
    for level in range(depth, 0, -1):
        if level == 1:
            kernel = source.take("input_kernel_1", None, 4 * features)
            recurrent_kernel = source.take("kernel_1", features, 4 * features)
        else:
            kernel, recurrent_kernel = np.split(source.take(f"kernel_{level}", 2 * features, 4 * features), 2)
        b = None
        if use_bias:
            b = to_parameter(reorder_gates(source.take(f"bias_{level}", 4 * features), _GATE_ORDER))
        w_x = to_parameter(reorder_gates(kernel, _GATE_ORDER))
        w_h = to_parameter(reorder_gates(recurrent_kernel, _GATE_ORDER))
        if level == depth:
            params = LSTMParams(w_x, w_h, b, peephole=None, w_p=None, norm=None)
        else:
            params = NestedParams(w_x, w_h, b, inner=params)

    cell = nested_lstm(
        features,
        depth,
        "add",
        candidate_activation=cell_activation,
        inner_activation=activation,
        output_activation=activation,
        gate_activation=gate_activation,
        use_bias=use_bias,
    )
    return cell, params


def nested_lstm_to_tensors(cell: LSTM | Nested, params: Params) -> dict[str, np.ndarray]:
    """Return the weights of an additive Nested LSTM: the kernels of all levels, then the biases.

    An additive LSTM is a Nested LSTM of depth 1.

    Raises:
        ValueError: A level has an option that the Keras layer lacks.
    """
    kernels: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}
    for depth, (level, level_params) in enumerate(_nested_levels(cell, params), start=1):
        check_options("to_keras", level, gating="add", output_activation=cell.output_activation)
        check_options("to_keras", level, gate_activation=cell.gate_activation)
        if depth > 1:
            check_options("to_keras", level, candidate_activation=cell.output_activation)

        w_x = reorder_gates(to_numpy(level_params.w_x), _GATE_ORDER)
        w_h = reorder_gates(to_numpy(level_params.w_h), _GATE_ORDER)
        if depth == 1:
            kernels["input_kernel_1"] = w_x
            kernels["kernel_1"] = w_h
        else:
            kernels[f"kernel_{depth}"] = np.concatenate([w_x, w_h])
        if level_params.b is not None:
            biases[f"bias_{depth}"] = reorder_gates(to_numpy(level_params.b), _GATE_ORDER)
    return kernels | biases


def _nested_levels(cell: Layer, params: Params) -> list[Converted]:
    """Return the levels of a nested cell, outermost first.

    Raises:
        ValueError: The innermost level is not a plain LSTM.
    """
    levels: list[Converted] = []
    while isinstance(cell, Nested):
        levels.append((cell, params))
        cell = without_dropout(cell.inner)
        params = params.inner
    if not isinstance(cell, LSTM):
        raise unsupported_cell_error("to_keras", cell, "an LSTM as the innermost level")
    check_options("to_keras", cell, peephole=False, projection=None, layer_norm=False)
    levels.append((cell, params))
    return levels
