"""Weights from and to Keras' LSTM, GRU and SimpleRNN, and the widely copied Keras Nested LSTM layer.

Keras calls W_x `kernel` and W_h `recurrent_kernel`. The gate order of an LSTM is i, f, g, o, as here. The gate order
of a GRU is z, r, n; with `reset_after` its `bias` is [2, 3H], the input's bias and the recurrent one.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nlstm_jax.adapters.weights.keras_names import (
    DIRECTIONS,
    check_all_recurrent,
    find_layers,
    normalize_names,
    select_layers,
)
from nlstm_jax.adapters.weights.keras_nested import nested_lstm_to_tensors, read_nested_lstm
from nlstm_jax.adapters.weights.tensors import (
    Converted,
    NamedTensors,
    Tensors,
    check_options,
    count_gates,
    make_bidirectional,
    reorder_gates,
    split_directions,
    split_stack,
    stack_layers,
    to_numpy,
    to_parameter,
    unsupported_cell_error,
    widen,
    without_dropout,
)
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanParams,
    GRUParams,
    Layer,
    LSTMParams,
    Nested,
)
from nlstm_jax.types import Params

_ACTIVATIONS = {"linear": "identity"}
"""Keras' names of activations that have another name here."""

_GRU_ORDER = (1, 0, 2)
"""The gates z, r, n as r, z, n. The order is its own inverse."""


def from_keras(
    tensors: NamedTensors,
    prefix: str = "",
    *,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    cell_activation: str | None = None,
    reset_after: bool | None = None,
    merge_mode: str | None = None,
    layers: Sequence[str] = (),
) -> Converted:
    """Return the layer of these Keras weights and its parameters.

    The numbers of a Nested LSTM are kept as they are. If its `unit_forget_bias` was on, Keras has put the ones on the
    candidate, and they stay there.

    Args:
        tensors: The arrays by path, e.g. `{weight.path: weight.numpy() for weight in layer.weights}`. The last part of
            a name is `kernel`, `recurrent_kernel` or `bias`, also with `:0` after it; or it is `vars/0`, `vars/1` or
            `vars/2`. A part that begins with `forward` or `backward` is a
            direction, and the parts before it name a layer. Layers come lowest first unless `layers` says otherwise.
            A Nested LSTM has `input_kernel_1`, `kernel_1`, `bias_1`, ….
        prefix: The beginning of the layer's names in a model's weights.
        activation: The activation of all layers, by Keras' name; tanh by default, as in Keras. Like
            `recurrent_activation` it cannot be read off the weights.
        recurrent_activation: The activation of the gates of all layers, by Keras' name; sigmoid by default. Keras 1
            and 2 call another function `hard_sigmoid` than Keras 3 does: theirs is `hard_sigmoid_keras2` here.
        cell_activation: The activation of the outermost candidate of a Nested LSTM, by Keras' name; linear by default.
        reset_after: The argument `reset_after` of a GRU without bias; True by default. A bias tells it by its shape.
        merge_mode: The argument `merge_mode` of a Bidirectional; "concat" by default.
        layers: The names of a stack's layers, lowest first, e.g. `("gru", "lstm")`. Other layers are ignored.

    Returns:
        The layer and its parameters. The layer is an `LSTM`, `GRU`, `Elman` or `nested_lstm(gating="add")`, inside a
        `Bidirectional` for two directions, and inside a `Stack` for several layers.

    Raises:
        DataError: A tensor is missing, has a wrong shape, or has no place; a name in `layers` does not name exactly
            one layer, or is repeated; or an option is passed that nothing here has, or that contradicts the tensors.

    >>> from_keras({"lstm/kernel": np.ones((3, 16)), "lstm/recurrent_kernel": np.ones((4, 16))})[0]
    LSTM(features=4, ..., use_bias=False, ...)
    """
    options = {
        "activation": (activation, "tanh"),
        "recurrent_activation": (recurrent_activation, "sigmoid"),
        "cell_activation": (cell_activation, "linear"),
        "reset_after": (reset_after, True),
        "merge_mode": (merge_mode, "concat"),
    }
    if isinstance(tensors, Mapping):
        tensors = normalize_names(tensors)
    source = Tensors(tensors, "from_keras", prefix, options)
    if "input_kernel_1" in source:
        activation = _read_activation(source, "activation")
        gate_activation = _read_activation(source, "recurrent_activation")
        nested = read_nested_lstm(source, activation, gate_activation, _read_activation(source, "cell_activation"))
        source.check_all_used()
        return nested

    scopes_by_layer = find_layers(source)
    if layers:
        scopes_by_layer = select_layers(layers, scopes_by_layer)
        source.ignore_all_but(tuple(scope for scopes in scopes_by_layer.values() for scope in scopes))
    else:
        check_all_recurrent(source, scopes_by_layer)

    converted: list[Converted] = []
    in_features = None
    for scopes in scopes_by_layer.values():
        layer, params = _read_layer(source, scopes, in_features)
        converted.append((layer, params))
        in_features = layer.out_features
    source.check_all_used()
    return stack_layers(converted)


def to_keras(layer: Layer, params: Params) -> dict[str, np.ndarray]:
    """Return the weights of the Keras layer that computes the same function, in the order of Keras' `set_weights`.

    The names are `kernel`, `recurrent_kernel` and `bias`. For two directions they begin with `forward/` and
    `backward/`, and for several layers with `layer_0/`, …. A round trip (`to_keras`, then `from_keras`) changes no
    bit.

    Args:
        layer: The layer to convert.
        params: The layer's parameters.

    Raises:
        ValueError: Keras has no such cell, option or structure; the message names it.
    """
    tensors: dict[str, np.ndarray] = {}
    layers = split_stack("to_keras", layer, params)
    for index, (stacked_layer, layer_params) in enumerate(layers):
        layer_scope = f"layer_{index}/" if len(layers) > 1 else ""
        directions = split_directions(stacked_layer, layer_params)
        for direction, (cell, cell_params) in zip(DIRECTIONS, directions, strict=False):
            scope = layer_scope
            if len(directions) > 1:
                scope += f"{direction}/"
            for name, value in _cell_to_tensors(without_dropout(cell), cell_params).items():
                tensors[scope + name] = value
    return tensors


def _read_layer(source: Tensors, scopes: Sequence[str], in_features: int | None) -> Converted:
    """Return one layer.

    Args:
        source: The tensors.
        scopes: The scope of the layer's cell, or of its forward and its backward cell.
        in_features: The expected width of the input; None accepts any.
    """
    cells: list[Converted] = []
    for scope in scopes:
        cell, params = _read_cell(source, scope, in_features)
        cells.append((cell, params))
        # A backward cell has the input of the forward one.
        in_features = params.w_x.shape[0]
    if len(cells) == 1:
        return cells[0]
    forward, backward = cells
    return make_bidirectional(forward, backward, source.option("merge_mode"))


def _read_cell(source: Tensors, scope: str, in_features: int | None) -> Converted:
    """Return the cell in a scope."""
    recurrent_kernel = source.take(f"{scope}recurrent_kernel", None, None)
    features, width = recurrent_kernel.shape
    gates = count_gates(width, features)
    if gates is None:
        raise source.tensor_error(
            f"{scope}recurrent_kernel", f"[H, H], [H, 3H] or [H, 4H] expected, found {list(recurrent_kernel.shape)}"
        )
    kernel = source.take(f"{scope}kernel", in_features, width)
    if gates == 3:
        return _read_gru(source, scope, kernel, recurrent_kernel)

    use_bias = f"{scope}bias" in source
    b = None
    if use_bias:
        b = to_parameter(source.take(f"{scope}bias", width))
    w_x = to_parameter(kernel)
    w_h = to_parameter(recurrent_kernel)
    activation = _read_activation(source, "activation")
    if gates == 1:
        return Elman(features, activation=activation, use_bias=use_bias), ElmanParams(w_x, w_h, b)

    cell = LSTM(
        features,
        candidate_activation=activation,
        output_activation=activation,
        gate_activation=_read_activation(source, "recurrent_activation"),
        use_bias=use_bias,
    )
    return cell, LSTMParams(w_x, w_h, b, peephole=None, w_p=None, norm=None)


def _read_activation(source: Tensors, option: str) -> str:
    """Return an activation that all cells share, by the name that it has here."""
    name = source.option(option)
    return _ACTIVATIONS.get(name, name)


def _read_gru(source: Tensors, scope: str, kernel: np.ndarray, recurrent_kernel: np.ndarray) -> Converted:
    """Return a GRU; the shape of its bias, if it has one, tells `reset_after`."""
    features, width = recurrent_kernel.shape
    b = None
    b_n = None
    if f"{scope}bias" not in source:
        reset_after = source.option("reset_after")
    else:
        reset_after = len(source.shape(f"{scope}bias")) == 2
        _check_reset_after(source, scope, width, reset_after)
        if reset_after:
            input_bias, recurrent_bias = reorder_gates(widen(source.take(f"{scope}bias", 2, width)), _GRU_ORDER)
            n_start = 2 * features
            summed = input_bias[:n_start] + recurrent_bias[:n_start]
            b = to_parameter(np.concatenate([summed, input_bias[n_start:]]))
            b_n = to_parameter(recurrent_bias[n_start:])
        else:
            b = to_parameter(reorder_gates(source.take(f"{scope}bias", width), _GRU_ORDER))

    cell = GRU(
        features,
        reset_after=reset_after,
        candidate_activation=_read_activation(source, "activation"),
        gate_activation=_read_activation(source, "recurrent_activation"),
        use_bias=b is not None,
    )
    w_x = to_parameter(reorder_gates(kernel, _GRU_ORDER))
    w_h = to_parameter(reorder_gates(recurrent_kernel, _GRU_ORDER))
    return cell, GRUParams(w_x, w_h, b, b_n)


def _check_reset_after(source: Tensors, scope: str, width: int, reset_after: bool) -> None:
    """Raise a DataError if the caller's `reset_after` contradicts the one that the bias has."""
    option = source.explicit_option("reset_after")
    if option is None or option == reset_after:
        return
    shapes = {True: f"[2, {width}]", False: f"[{width}]"}
    raise source.tensor_error(
        f"{scope}bias",
        f"the shape {shapes[not reset_after]} expected with reset_after={not reset_after}, "
        f"found {shapes[reset_after]}",
    )


def _cell_to_tensors(cell: Layer, params: Params) -> dict[str, np.ndarray]:
    """Return the weights of one cell, by Keras' names without a scope.

    Raises:
        ValueError: Keras has no such cell or option.
    """
    if isinstance(cell, Nested) or (isinstance(cell, LSTM) and cell.gating == "add"):
        return nested_lstm_to_tensors(cell, params)
    if isinstance(cell, GRU):
        return _gru_to_tensors(cell, params)
    if not isinstance(cell, LSTM | Elman):
        raise unsupported_cell_error("to_keras", cell, "an LSTM, GRU, Elman or nested_lstm(gating='add')")
    if isinstance(cell, LSTM):
        check_options("to_keras", cell, peephole=False, projection=None, layer_norm=False)
        check_options("to_keras", cell, output_activation=cell.candidate_activation)

    tensors = {"kernel": to_numpy(params.w_x), "recurrent_kernel": to_numpy(params.w_h)}
    if params.b is not None:
        tensors["bias"] = to_numpy(params.b)
    return tensors


def _gru_to_tensors(cell: GRU, params: Params) -> dict[str, np.ndarray]:
    """Return the weights of a GRU; the bias is [2, 3H] with `reset_after`, else [3H]."""
    tensors = {"kernel": to_numpy(params.w_x), "recurrent_kernel": to_numpy(params.w_h)}
    if params.b is not None:
        b = to_numpy(params.b)
        tensors["bias"] = b
        if cell.reset_after:
            recurrent_bias = np.concatenate([np.zeros_like(b[: 2 * cell.features]), to_numpy(params.b_n)])
            tensors["bias"] = np.stack([b, recurrent_bias])
    return {name: reorder_gates(value, _GRU_ORDER) for name, value in tensors.items()}
