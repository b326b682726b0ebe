"""Weights from and to PyTorch's `nn.LSTM`, `nn.GRU`, `nn.RNN` and their single cells.

PyTorch stores weights as [gates·H, D], gate order i, f, g, o and r, z, n as here, and two biases whose sum it uses
(but for a GRU's n, whose second bias stands inside r ⊙ (·)).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.tensors import (
    Converted,
    Tensors,
    bare,
    both_ways,
    directions_of,
    expect,
    gates_of,
    layers_of,
    no_such_cell,
    numpy,
    parameter,
    stacked,
)
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Elman, ElmanParams, GRUParams, Layer, LSTMParams, spec_repr
from nlstm_jax.types import Params


def from_torch(tensors: Mapping[str, Any], prefix: str = "", *, nonlinearity: str | None = None) -> Converted:
    """The layer that a PyTorch state dict holds, and its parameters.

    Args:
        tensors: `module.state_dict()`, or the like in NumPy arrays: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, …,
            `_reverse` for the second direction, `weight_hr_l0` for `proj_size`; a single cell's lack the `_l0`.
        prefix: of the layer's names in a model's state dict, e.g. `"encoder.rnn."`.
        nonlinearity: of an `nn.RNN`, "tanh" (so by default there) or "relu"; the weights do not tell.

    Returns:
        `LSTM`, `GRU` or `Elman`, in a `Bidirectional` for two directions, in a `Stack` for several layers. Dropout is
        not among the weights: `Stack(cells, dropout=…)` has it.

    Raises:
        DataError: a tensor is missing, of a wrong shape, or has no place; a nonlinearity of what is no `nn.RNN`.

    >>> tensors = {"weight_ih_l0": np.ones((16, 3)), "weight_hh_l0": np.ones((16, 4))}
    >>> from_torch(tensors)[0]
    LSTM(features=4, ..., use_bias=False, ...)
    """
    source = Tensors(_readable(tensors), "from_torch", prefix, {"nonlinearity": (nonlinearity, "tanh")})
    if "weight_ih" in source:
        layers = [_cell_from(source, "", None)]
    else:
        layers, below = [], None
        count = max(sum(name.startswith("weight_ih_l") and name[11:].isdecimal() for name in source.names), 1)
        for index in range(count):
            layers.append(_layer_from(source, f"_l{index}", below))
            below = layers[-1][0].out_features
    source.finish()
    return stacked(layers)


def to_torch(layer: Layer, params: Params, prefix: str = "") -> dict[str, np.ndarray]:
    """The state dict of the PyTorch module that computes the same.

    The bias goes into `bias_ih`, and zeros into `bias_hh` (but a GRU's b_n, which belongs there), so a way there and
    back changes no bit. Dropout is left out, as it has no part in an evaluation.

    Raises:
        ValueError: a cell, option or structure that PyTorch does not have; the message names it.
    """
    tensors: dict[str, np.ndarray] = {}
    layers = layers_of("to_torch", layer, params)
    first, directions = bare(directions_of(*layers[0])[0][0]), len(directions_of(*layers[0]))
    for index, (each, weights) in enumerate(layers):
        if isinstance(each, Bidirectional):
            expect("to_torch", each, merge="concat")
        if len(directions_of(each, weights)) != directions:
            raise ValueError(f"to_torch: {directions} direction(s) in every layer expected, found {spec_repr(each)}")
        for suffix, (cell, own) in zip(("", "_reverse"), directions_of(each, weights), strict=False):
            if bare(cell) != first:
                raise ValueError(
                    f"to_torch: layers and directions alike expected, found {spec_repr(first)} and "
                    f"{spec_repr(bare(cell))}"
                )
            tensors |= {f"{prefix}{name}_l{index}{suffix}": value for name, value in _cell_to(bare(cell), own).items()}
    return tensors


def _readable(tensors: Any) -> Any:
    """Arrays that NumPy can read: it knows no gradient, and no bfloat16, whose values are all float32's too."""
    if not isinstance(tensors, Mapping):
        return tensors
    readable = {}
    for name, value in tensors.items():
        plain = value.detach() if hasattr(value, "detach") else value
        readable[name] = plain.float() if "torch.bfloat16" in str(getattr(plain, "dtype", "")) else plain
    return readable


def _layer_from(source: Tensors, suffix: str, features: int | None) -> Converted:
    forward = _cell_from(source, suffix, features)
    # All layers have as many directions as the first.
    if "weight_ih_l0_reverse" not in source and f"weight_ih{suffix}_reverse" not in source:
        return forward
    return both_ways(forward, _cell_from(source, f"{suffix}_reverse", forward[1].w_x.shape[0]))


def _cell_from(source: Tensors, suffix: str, features: int | None) -> Converted:
    w_hh = source.take(f"weight_hh{suffix}", None, None)
    rows, out = w_hh.shape
    projected = f"weight_hr{suffix}" in source
    hidden = source.take(f"weight_hr{suffix}", out, None).shape[1] if projected else out
    gates = gates_of(rows, hidden)
    if gates is None or (projected and gates != 4):
        raise source.validation_error(
            f"weight_hh{suffix}", f"1, 3 or 4 blocks of {hidden} rows expected, found {rows} rows and {out} columns"
        )
    w_x = parameter(source.take(f"weight_ih{suffix}", rows, features).T)
    w_h = parameter(w_hh.T)
    b = bias = None
    if f"bias_ih{suffix}" in source:
        b, bias = source.take(f"bias_ih{suffix}", rows), source.take(f"bias_hh{suffix}", rows)
    if gates == 3:
        gru = GRU(hidden, use_bias=b is not None)
        if b is None or bias is None:
            return gru, GRUParams(w_x, w_h, None, None)
        summed = np.concatenate([b[: 2 * hidden] + bias[: 2 * hidden], b[2 * hidden :]])
        return gru, GRUParams(w_x, w_h, parameter(summed), parameter(bias[2 * hidden :]))
    whole = None if b is None or bias is None else parameter(b + bias)
    if gates == 1:
        activation = source.option("nonlinearity")
        return Elman(hidden, activation=activation, use_bias=b is not None), ElmanParams(w_x, w_h, whole)
    w_p = parameter(source.take(f"weight_hr{suffix}", out, hidden).T) if projected else None
    cell = LSTM(hidden, projection=out if projected else None, use_bias=b is not None)
    return cell, LSTMParams(w_x, w_h, whole, None, w_p, None)


def _cell_to(cell: Layer, params: Any) -> dict[str, np.ndarray]:
    if not isinstance(cell, LSTM | GRU | Elman):
        raise no_such_cell("to_torch", cell, "an LSTM, GRU or Elman")
    hidden_bias = None if params.b is None else np.zeros_like(numpy(params.b))
    if isinstance(cell, LSTM):
        activations = {"candidate_activation": "tanh", "output_activation": "tanh", "gate_activation": "sigmoid"}
        expect("to_torch", cell, gating="multiply", peephole=False, layer_norm=False, **activations)
    elif isinstance(cell, GRU):
        expect("to_torch", cell, reset_after=True, candidate_activation="tanh", gate_activation="sigmoid")
        if hidden_bias is not None:
            hidden_bias[2 * cell.features :] = numpy(params.b_n)
    else:
        expect("to_torch", cell, activation=("tanh", "relu"))
    tensors = {"weight_ih": numpy(params.w_x).T, "weight_hh": numpy(params.w_h).T}
    if hidden_bias is not None:
        tensors |= {"bias_ih": numpy(params.b), "bias_hh": hidden_bias}
    if isinstance(cell, LSTM) and cell.projection is not None:
        tensors["weight_hr"] = numpy(params.w_p).T
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}
