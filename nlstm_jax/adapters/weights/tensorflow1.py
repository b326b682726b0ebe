"""Weights of TensorFlow 1's LSTM cells and of `NLSTMCell`: alone, in a `MultiRNNCell`, or in two directions.

TensorFlow 1 has one `kernel` that multiplies [x, h], with gate order i, g, f, o. It adds the forget bias in the
forward pass; here the forget bias is part of b. Peepholes are diagonal, and the output gate o sees the new cell state.
"""

import re
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from nlstm_jax.adapters.weights import tensorflow1_nested
from nlstm_jax.adapters.weights.tensors import (
    Converted,
    NamedTensors,
    Tensors,
    make_bidirectional,
    natural_sort_key,
    reorder_gates,
    stack_layers,
    to_parameter,
)
from nlstm_jax.cells import LSTM, LSTMParams

# i g f o ↔ i f g o: the order is its own inverse.
_GATE_ORDER = (0, 2, 1, 3)
_PEEPHOLES = ("w_i_diag", "w_f_diag", "w_o_diag")
_OPTIMIZER = re.compile(
    r"(^|/)(Adam|Adadelta|Adagrad|ExponentialMovingAverage|Ftrl|Momentum|RMSProp)(_\d+)?$|^(beta\d_power|global_step)$"
)
"""The variables that a training checkpoint holds beside those of the model."""
_OTHER_CELLS = {
    "basic_rnn_cell": "BasicRNNCell",
    "gru_cell": "GRUCell",
    "gru_block_cell": "GRUBlockCell",
    "layer_norm_basic_lstm_cell": "LayerNormBasicLSTMCell",
    "nas_cell": "NASCell",
    "rnn_cell": "BasicRNNCell",
    "ugrnn_cell": "UGRNNCell",
}
"""The cells that have no converter, by the scope that TensorFlow gives them."""
_DIRECTIONS = ("fw", "bw")


def from_tensorflow1(
    tensors: NamedTensors,
    prefix: str = "",
    *,
    forget_bias: float | None = None,
    activation: str | None = None,
    gate_activation: str | None = None,
    cell_activation: str | None = None,
) -> Converted:
    """Return the LSTM, or the layers of LSTMs, of these TensorFlow 1 variables and their parameters.

    Args:
        tensors: The arrays by the variables' names, e.g. `rnn/multi_rnn_cell/cell_0/lstm_cell/kernel`. Beside each
            `kernel` there is a `bias`; there may be the peepholes `w_i_diag`, `w_f_diag`, `w_o_diag`, and
            `projection/kernel`. Layers have `cell_0`, `cell_1`, … in their names, and directions `fw` and `bw`. The
            variables of an optimizer are passed over. An `NLSTMCell` (https://github.com/hannw/nlstm) has
            `input_gate_kernel`, `hidden_gate_kernel`, `kernel_1`, `bias_0`, `bias_1`, ….
        prefix: The beginning of the cell's names in a checkpoint.
        forget_bias: The argument `forget_bias` of the TensorFlow cell, 1.0 by default.
        activation: The name of the TensorFlow cell's activation, tanh by default. It cannot be read off the variables.
        gate_activation: The name of the activation of the gates, sigmoid by default.
        cell_activation: The name of the activation of the outermost candidate of an `NLSTMCell`. The default is
            identity; in the first versions, whose outermost kernel is `kernel_0`, it is `activation`.

    Returns:
        The layer and its parameters. The layer is an `LSTM`, with peepholes or a projection if the variables have
        them, or a `nested_lstm` for an `NLSTMCell`. The cells of a `MultiRNNCell` are in a `Stack`. The two directions
        of `bidirectional_dynamic_rnn` are in a `Bidirectional` that concatenates their outputs.

    Raises:
        DataError: A tensor is missing, has a wrong shape, or has no place; or the cells are no LSTMs.

    >>> from_tensorflow1({"lstm_cell/kernel": np.ones((3 + 4, 16)), "lstm_cell/bias": np.zeros(16)})[1].b[4:8].tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    options = {
        "forget_bias": (forget_bias, 1.0),
        "activation": (activation, "tanh"),
        "gate_activation": (gate_activation, "sigmoid"),
        "cell_activation": (cell_activation, None),
    }
    source = Tensors(tensors, "from_tensorflow1", prefix, options)
    source.drop(_OPTIMIZER)
    scopes = _find_scopes(source)
    # Without any bias the unnamed scope is read, so that the error names the missing bias.
    if not scopes:
        scopes = [""]
    for scope in scopes:
        _check_is_lstm(source, scope)

    def read_stack(scopes: Sequence[str], in_features: int | None) -> Converted:
        """Return the cells of one direction, each of which reads the outputs of the one before."""
        if len(scopes) > 1:
            _check_are_layers(source, scopes)
        layers = []
        for scope in scopes:
            cell, params = _read_cell(source, scope, in_features)
            layers.append((cell, params))
            in_features = cell.out_features
        return stack_layers(layers)

    layer_scopes = [layer for layer in dict.fromkeys(map(_before_direction, scopes)) if layer is not None]
    if not layer_scopes:
        converted = read_stack(scopes, None)
    else:
        layers = []
        in_features = None
        for layer_scope in layer_scopes:
            directions = []
            for direction in _DIRECTIONS:
                direction_scope = f"{layer_scope}{direction}/"
                cell_scopes = [scope for scope in scopes if scope.startswith(direction_scope)]
                if not cell_scopes:
                    raise source.tensor_error(direction_scope, "a cell of this direction expected, found none")
                directions.append(read_stack(cell_scopes, in_features))
            forward, backward = directions
            layer, params = make_bidirectional(forward, backward)
            layers.append((layer, params))
            in_features = layer.out_features
        converted = stack_layers(layers)
    source.check_all_used()
    return converted


def _find_scopes(source: Tensors) -> list[str]:
    """Return the scopes of all cells, sorted by the numbers in them."""
    scopes = []
    for name in source.names:
        field = name.rpartition("/")[2]
        if field in ("bias", *tensorflow1_nested.FIRST_KERNELS):
            scopes.append(name.removesuffix(field))
    return sorted(scopes, key=natural_sort_key)


def _check_is_lstm(source: Tensors, scope: str) -> None:
    """Raise a DataError that names the cell, if a scope is that of a cell without a converter."""
    for part in scope.split("/"):
        cell = _OTHER_CELLS.get(re.sub(r"_\d+$", "", part))
        if cell is not None:
            raise source.tensor_error(scope, f"a BasicLSTMCell or LSTMCell expected, found a {cell}")


def _check_are_layers(source: Tensors, scopes: Sequence[str]) -> None:
    """Raise a DataError unless each of several scopes is that of a layer, `cell_0`, `cell_1`, …."""
    for scope in scopes:
        if not re.search(r"(^|/)cell_\d+/", scope):
            raise source.tensor_error(
                scope,
                "one cell, or layers named cell_0, cell_1, …, expected; a prefix picks one cell out of a model's",
            )


def _before_direction(scope: str) -> str | None:
    """Return the beginning of a scope that both directions of its layer share; None where there are no directions."""
    parts = scope.split("/")
    for index, part in enumerate(parts):
        if part in _DIRECTIONS:
            return "".join(f"{shared}/" for shared in parts[:index])
    return None


def _read_cell(source: Tensors, scope: str, in_features: int | None) -> Converted:
    """Return the LSTM or the Nested LSTM in a variable scope and its parameters.

    Args:
        source: The tensors.
        scope: The beginning of the cell's names, e.g. `cell_0/lstm_cell/`.
        in_features: The expected width of the input; None accepts any.
    """
    forget_bias = source.option("forget_bias")
    activation = source.option("activation")
    gate_activation = source.option("gate_activation")
    if any(f"{scope}{name}" in source for name in tensorflow1_nested.FIRST_KERNELS):
        return tensorflow1_nested.read_nested_lstm(
            source,
            scope,
            in_features,
            forget_bias,
            activation,
            gate_activation,
            source.explicit_option("cell_activation"),
        )

    bias = source.take(f"{scope}bias", None)
    width = bias.shape[0]
    features = width // 4
    if not features or width % 4:
        raise source.tensor_error(f"{scope}bias", f"4 blocks of one length expected, found {list(bias.shape)}")

    projection = None
    w_p = None
    if f"{scope}projection/kernel" in source:
        w_p = to_parameter(source.take(f"{scope}projection/kernel", features, None))
        projection = w_p.shape[1]
    peephole = None
    if f"{scope}{_PEEPHOLES[0]}" in source:
        peephole = to_parameter(np.stack([source.take(f"{scope}{name}", features) for name in _PEEPHOLES]))

    out_features = projection or features
    kernel_rows = None
    if in_features is not None:
        kernel_rows = in_features + out_features
    kernel = source.take(f"{scope}kernel", kernel_rows, 4 * features)
    input_rows = kernel.shape[0] - out_features
    if input_rows < 1:
        raise source.tensor_error(
            f"{scope}kernel", f"rows for an input and for h expected, found {list(kernel.shape)}"
        )
    w_x, w_h = np.split(reorder_gates(kernel, _GATE_ORDER), [input_rows])
    added_forget_bias = jnp.repeat(jnp.array([0.0, forget_bias, 0.0, 0.0]), features)
    b = to_parameter(reorder_gates(bias, _GATE_ORDER)) + added_forget_bias

    cell = LSTM(
        features,
        forget_bias=forget_bias,
        candidate_activation=activation,
        output_activation=activation,
        gate_activation=gate_activation,
        peephole=peephole is not None,
        projection=projection,
    )
    return cell, LSTMParams(to_parameter(w_x), to_parameter(w_h), b, peephole, w_p, norm=None)
