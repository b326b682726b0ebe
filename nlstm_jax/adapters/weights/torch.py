"""Weights from and to PyTorch's `nn.LSTM`, `nn.GRU`, `nn.RNN` and their single cells.

PyTorch stores weights as [gates·H, D]. The gate order is the same as here: i, f, g, o in an LSTM and r, z, n in a GRU.
PyTorch has two biases and uses their sum. The exception is a GRU's n, whose second bias stands inside r ⊙ (·).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    Converted,
    NamedTensors,
    Tensors,
    check_options,
    count_gates,
    make_bidirectional,
    split_directions,
    split_stack,
    stack_layers,
    to_numpy,
    to_parameter,
    unsupported_cell_error,
    widen,
    without_dropout,
)
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Elman, ElmanParams, GRUParams, Layer, LSTMParams, spec_repr
from nlstm_jax.types import Params


def from_torch(tensors: NamedTensors, prefix: str = "", *, nonlinearity: str | None = None) -> Converted:
    """Return the layer of a PyTorch state dict and its parameters.

    Args:
        tensors: The result of `module.state_dict()`, or NumPy arrays under the same names: `weight_ih_l0`,
            `weight_hh_l0`, `bias_ih_l0`, …. The second direction has the suffix `_reverse`. With `proj_size` there is
            `weight_hr_l0`. The names of a single cell lack the `_l0`.
        prefix: The beginning of the layer's names in a model's state dict, e.g. `"encoder.rnn."`.
        nonlinearity: The activation of an `nn.RNN`, "tanh" (PyTorch's default) or "relu". It cannot be read off the
            weights.

    Returns:
        The layer and its parameters. The layer is an `LSTM`, `GRU` or `Elman`, inside a `Bidirectional` for two
        directions, and inside a `Stack` for several layers. Dropout is not among the weights; use
        `Stack(cells, dropout=…)` for it.

    Raises:
        DataError: A tensor is missing, has a wrong shape, or has no place; or a nonlinearity is passed for a layer
            that is not an `nn.RNN`.

    >>> tensors = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4))}
    >>> from_torch(tensors)[0]
    LSTM(features=4, ..., use_bias=False, ...)
    """
    source = Tensors(_to_readable(tensors), "from_torch", prefix, {"nonlinearity": (nonlinearity, "tanh")})
    layers: list[Converted] = []
    if "weight_ih" in source:
        layers.append(_read_cell(source, "", None))
    else:
        # Even without a numbered layer the first one is read, so that the error names its missing tensor.
        layer_count = max(sum(_is_input_weight(name) for name in source.names), 1)
        in_features = None
        for index in range(layer_count):
            layer, params = _read_layer(source, f"_l{index}", in_features)
            layers.append((layer, params))
            in_features = layer.out_features
    source.check_all_used()
    return stack_layers(layers)


def to_torch(layer: Layer, params: Params, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the state dict of the PyTorch module that computes the same function.

    The bias becomes `bias_ih`, and `bias_hh` is zero. The exception is a GRU's b_n, which belongs in `bias_hh`. A
    round trip (`to_torch`, then `from_torch`) changes no bit. Dropout is left out, as it has no effect in an
    evaluation.

    Args:
        layer: The layer to convert.
        params: The layer's parameters.
        prefix: The beginning of every name in the result.

    Raises:
        ValueError: PyTorch has no such cell, option or structure; the message names it.
    """
    tensors: dict[str, np.ndarray] = {}
    layers = split_stack("to_torch", layer, params)
    first_directions = split_directions(*layers[0])
    first_cell = without_dropout(first_directions[0][0])
    direction_count = len(first_directions)

    for index, (stacked_layer, layer_params) in enumerate(layers):
        if isinstance(stacked_layer, Bidirectional):
            check_options("to_torch", stacked_layer, merge="concat")
        directions = split_directions(stacked_layer, layer_params)
        if len(directions) != direction_count:
            raise ValueError(
                f"to_torch: {direction_count} direction(s) in every layer expected, found {spec_repr(stacked_layer)}"
            )
        for suffix, (wrapped_cell, cell_params) in zip(("", "_reverse"), directions, strict=False):
            cell = without_dropout(wrapped_cell)
            if cell != first_cell:
                raise ValueError(
                    f"to_torch: layers and directions alike expected, found {spec_repr(first_cell)} and "
                    f"{spec_repr(cell)}"
                )
            for name, value in _cell_to_tensors(cell, cell_params).items():
                tensors[f"{prefix}{name}_l{index}{suffix}"] = value
    return tensors


def _to_readable(tensors: NamedTensors) -> NamedTensors:
    """Return arrays that NumPy can read: without gradients, and with bfloat16 converted to float32.

    Anything but a dictionary is returned unchanged, so that `Tensors` reports it.
    """
    if not isinstance(tensors, Mapping):
        return tensors
    return {name: _to_readable_array(value) for name, value in tensors.items()}


def _to_readable_array(value: Any) -> Any:
    """Detach a PyTorch tensor, and convert bfloat16, which NumPy lacks, to float32."""
    if hasattr(value, "detach"):
        value = value.detach()
    if "torch.bfloat16" in str(getattr(value, "dtype", "")):
        value = value.float()
    return value


def _is_input_weight(name: str) -> bool:
    """Return True if the name is that of a layer's input weights in the forward direction, e.g. `weight_ih_l0`."""
    stem = "weight_ih_l"
    return name.startswith(stem) and name.removeprefix(stem).isdecimal()


def _read_layer(source: Tensors, suffix: str, in_features: int | None) -> Converted:
    """Return one layer of a module, of one or two directions.

    Args:
        source: The tensors of the module.
        suffix: The end of the layer's names, e.g. `_l0`.
        in_features: The expected width of the input; None accepts any.
    """
    forward = _read_cell(source, suffix, in_features)
    # All layers have as many directions as the first.
    if "weight_ih_l0_reverse" not in source and f"weight_ih{suffix}_reverse" not in source:
        return forward
    forward_params = forward[1]
    backward = _read_cell(source, f"{suffix}_reverse", forward_params.w_x.shape[0])
    return make_bidirectional(forward, backward)


def _read_cell(source: Tensors, suffix: str, in_features: int | None) -> Converted:
    """Return the cell whose tensors have this suffix, e.g. `_l0_reverse`."""
    w_hh = source.take(f"weight_hh{suffix}", None, None)
    rows, out_features = w_hh.shape
    has_projection = f"weight_hr{suffix}" in source
    features = out_features
    if has_projection:
        features = source.take(f"weight_hr{suffix}", out_features, None).shape[1]

    gates = count_gates(rows, features)
    if gates is None or (has_projection and gates != 4):
        raise source.tensor_error(
            f"weight_hh{suffix}",
            f"1, 3 or 4 blocks of {features} rows expected, found {rows} rows and {out_features} columns",
        )
    w_x = to_parameter(source.take(f"weight_ih{suffix}", rows, in_features).T)
    w_h = to_parameter(w_hh.T)

    bias_ih = None
    bias_hh = None
    if f"bias_ih{suffix}" in source:
        bias_ih = widen(source.take(f"bias_ih{suffix}", rows))
        bias_hh = widen(source.take(f"bias_hh{suffix}", rows))
    use_bias = bias_ih is not None

    if gates == 3:
        gru = GRU(features, use_bias=use_bias)
        if bias_ih is None or bias_hh is None:
            return gru, GRUParams(w_x, w_h, b=None, b_n=None)
        n_start = 2 * features
        b = np.concatenate([bias_ih[:n_start] + bias_hh[:n_start], bias_ih[n_start:]])
        return gru, GRUParams(w_x, w_h, to_parameter(b), to_parameter(bias_hh[n_start:]))

    summed_bias = None
    if bias_ih is not None and bias_hh is not None:
        summed_bias = to_parameter(bias_ih + bias_hh)
    if gates == 1:
        elman = Elman(features, activation=source.option("nonlinearity"), use_bias=use_bias)
        return elman, ElmanParams(w_x, w_h, summed_bias)

    projection = None
    w_p = None
    if has_projection:
        projection = out_features
        w_p = to_parameter(source.take(f"weight_hr{suffix}", out_features, features).T)
    lstm = LSTM(features, projection=projection, use_bias=use_bias)
    return lstm, LSTMParams(w_x, w_h, summed_bias, peephole=None, w_p=w_p, norm=None)


def _cell_to_tensors(cell: Layer, params: Params) -> dict[str, np.ndarray]:
    """Return the tensors of one cell, by PyTorch's names without a suffix.

    Raises:
        ValueError: PyTorch has no such cell or option.
    """
    if not isinstance(cell, LSTM | GRU | Elman):
        raise unsupported_cell_error("to_torch", cell, "an LSTM, GRU or Elman")
    bias_hh = None
    if params.b is not None:
        bias_hh = np.zeros_like(to_numpy(params.b))

    if isinstance(cell, LSTM):
        activations = {"candidate_activation": "tanh", "output_activation": "tanh", "gate_activation": "sigmoid"}
        check_options("to_torch", cell, gating="multiply", peephole=False, layer_norm=False, **activations)
    elif isinstance(cell, GRU):
        check_options("to_torch", cell, reset_after=True, candidate_activation="tanh", gate_activation="sigmoid")
        if bias_hh is not None:
            bias_hh[2 * cell.features :] = to_numpy(params.b_n)
    else:
        check_options("to_torch", cell, activation=("tanh", "relu"))

    tensors = {"weight_ih": to_numpy(params.w_x).T, "weight_hh": to_numpy(params.w_h).T}
    if bias_hh is not None:
        tensors["bias_ih"] = to_numpy(params.b)
        tensors["bias_hh"] = bias_hh
    if isinstance(cell, LSTM) and cell.projection is not None:
        tensors["weight_hr"] = to_numpy(params.w_p).T
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}
