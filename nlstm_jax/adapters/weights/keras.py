"""Weights from and to Keras' LSTM, GRU and SimpleRNN, and the widely copied Keras Nested LSTM layer.

Keras has W_x as `kernel`, W_h as `recurrent_kernel`; gate order i, f, g, o as here, but z, r, n in a GRU, whose
`bias` with `reset_after` is [2, 3H]: the input's and the recurrent one. The Nested LSTM's order is i, g, f, o, and
its `kernel_k` for k ≥ 2 has the input's rows above the recurrent ones.
"""

from collections.abc import Mapping, Sequence
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
    reordered,
    stacked,
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
    NestedParams,
    nested_lstm,
)
from nlstm_jax.errors import DataError
from nlstm_jax.types import Params

_FIELDS = ("kernel", "recurrent_kernel", "bias")
_ACTIVATIONS = {"linear": "identity"}
# Each is its own inverse: z r n ↔ r z n, and i g f o ↔ i f g o.
_GRU, _NESTED = (1, 0, 2), (0, 2, 1, 3)


def from_keras(
    tensors: Mapping[str, Any],
    prefix: str = "",
    *,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    reset_after: bool | None = None,
    merge_mode: str | None = None,
    layers: Sequence[str] = (),
) -> Converted:
    """The layer whose Keras weights these are, and its parameters.

    Args:
        tensors: `{weight.path: weight.numpy() for weight in layer.weights}`, or the like; the last part of a name is
            `kernel`, `recurrent_kernel` or `bias`, a part that begins with `forward` or `backward` a direction, and
            what is before that a layer, lowest first unless `layers` says otherwise. A Nested LSTM has
            `input_kernel_1`, `kernel_1`, `bias_1`, ….
        prefix: of the layer's names in a model's weights.
        activation, recurrent_activation: those of all layers, as Keras names them; the weights do not tell. As in
            Keras tanh and sigmoid by default.
        reset_after: a GRU's, where there is no bias to tell; True by default.
        merge_mode: a Bidirectional's; concat by default.
        layers: the names of a stack's layers, lowest first, e.g. `("gru", "lstm")`; other layers are passed over.

    Returns:
        `LSTM`, `GRU`, `Elman` or `nested_lstm(gating="add")`; in a `Bidirectional`, in a `Stack`.

    Raises:
        DataError: a tensor is missing, of a wrong shape, or has no place; a name in `layers` is not of one layer, or
            twice there; or something is told of what is not there, or of what the tensors tell.

    A Nested LSTM's numbers are kept as they are: its `unit_forget_bias`, if it was on, has put the ones on the
    candidate, and they stay there.

    >>> from_keras({"lstm/kernel": np.ones((3, 16)), "lstm/recurrent_kernel": np.ones((4, 16))})[0]
    LSTM(features=4, ..., use_bias=False, ...)
    """
    options = {
        "activation": (activation, "tanh"),
        "recurrent_activation": (recurrent_activation, "sigmoid"),
        "reset_after": (reset_after, True),
        "merge_mode": (merge_mode, "concat"),
    }
    source = Tensors(tensors, "from_keras", prefix, options)
    if "input_kernel_1" in source:
        nested = _nested_from(source)
        source.finish()
        return nested
    found_layers = _places(source)
    recurrent = _recurrent(source, found_layers)
    if layers:
        names = [_named(each, found_layers) for each in layers]
        if len({*names}) < len(names):
            raise DataError(f"from_keras: layers: every layer once expected, found {', '.join(layers)}")
        found_layers = {name: found_layers[name] for name in names}
        source.only(tuple(place for places in found_layers.values() for place in places))
    elif recurrent and len(recurrent) < len(found_layers):
        place = next(places[0] for name, places in found_layers.items() if name not in recurrent)
        raise source.validation_error(
            f"{place}recurrent_kernel",
            f"missing; if that is no recurrent layer, layers=… picks those that are: {', '.join(recurrent)}",
        )
    converted: list[Converted] = []
    features: int | None = None
    for places in found_layers.values():
        found = []
        for place in places:
            found.append(_cell_from(source, place, features))
            features = found[-1][1].w_x.shape[0]
        converted.append(both_ways(found[0], found[1], source.option("merge_mode")) if len(found) > 1 else found[0])
        features = converted[-1][0].out_features
    source.finish()
    return stacked(converted)


def check_order(tensors: Mapping[str, Any], prefix: str = "") -> None:
    """Make sure that the names tell the order of a stack's layers, for tensors that come in the order of their names.

    Raises:
        DataError: they do not, as `gru` and `lstm`, unlike `lstm` and `lstm_1`.
    """
    source = Tensors(tensors, "from_keras", prefix)
    names = _recurrent(source, _places(source))
    if len({name.rstrip("_0123456789") for name in names}) > 1:
        raise DataError(
            "from_keras: layers: the names of a stack's layers, lowest first, expected, as these do not tell their "
            f"order: {', '.join(names)}"
        )


def to_keras(layer: Layer, params: Params) -> dict[str, np.ndarray]:
    """The weights of the Keras layer that computes the same, in the order of Keras' `layer.set_weights`.

    Named `kernel`, `recurrent_kernel`, `bias`, behind `forward/` and `backward/` for two directions and `layer_0/`, …
    for several layers. A way there and back changes no bit.

    Raises:
        ValueError: a cell, option or structure that Keras does not have; the message names it.
    """
    tensors: dict[str, np.ndarray] = {}
    layers = layers_of("to_keras", layer, params)
    for index, (each, weights) in enumerate(layers):
        place = f"layer_{index}/" if len(layers) > 1 else ""
        directions = directions_of(each, weights)
        for direction, (cell, own) in zip(("forward/", "backward/"), directions, strict=False):
            where = place + direction if len(directions) > 1 else place
            tensors |= {where + name: value for name, value in _cell_to(bare(cell), own).items()}
    return tensors


def _recurrent(source: Tensors, layers: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of the layers that have a recurrent kernel: a dense one has none."""
    return [name for name, (place, *_) in layers.items() if f"{place}recurrent_kernel" in source]


def _named(name: str, layers: Mapping[str, Any]) -> str:
    """The one layer of that name, which may be a part of a path, as `lstm` is of `sequential/lstm/lstm_cell`."""
    found = [layer for layer in layers if name in (layer, *layer.split("/"))]
    if len(found) != 1:
        raise DataError(f"from_keras: layers: the name of one layer of {', '.join(layers)} expected, found {name!r}")
    return found[0]


def _places(source: Tensors) -> dict[str, list[str]]:
    """Where each layer's cells are, e.g. `lstm/lstm_cell/`: one, or the forward and the backward one."""
    layers: dict[str, dict[str, str]] = {}
    for name in source.names:
        place, _, field = name.rpartition("/")
        layer, direction = _split(place)
        if field in _FIELDS:
            layers.setdefault(layer, {})[direction] = f"{place}/" if place else ""
    for found in layers.values():
        for direction, other in (("forward", "backward"), ("backward", "forward")):
            if direction in found and other not in found:
                raise source.validation_error(
                    found[direction], f"a {other} layer beside it expected, found none of that name"
                )
    return {name: [found[each] for each in sorted(found, reverse=True)] for name, found in layers.items()}


def _split(place: str) -> tuple[str, str]:
    """The layer and the direction of a place such as `bidirectional/forward_lstm/lstm_cell`."""
    parts = place.split("/")
    for index, part in enumerate(parts):
        for direction in ("forward", "backward"):
            if part.startswith(direction):
                return "/".join(parts[:index]), direction
    return place, ""


def _cell_from(source: Tensors, place: str, features: int | None) -> Converted:
    recurrent = source.take(f"{place}recurrent_kernel", None, None)
    hidden, width = recurrent.shape
    gates = gates_of(width, hidden)
    if gates is None:
        raise source.validation_error(
            f"{place}recurrent_kernel", f"[H, H], [H, 3H] or [H, 4H] expected, found {list(recurrent.shape)}"
        )
    kernel = source.take(f"{place}kernel", features, width)
    biased = f"{place}bias" in source
    if gates == 3:
        return _gru_from(source, place, kernel, recurrent)
    b = parameter(source.take(f"{place}bias", width)) if biased else None
    w_x, w_h = parameter(kernel), parameter(recurrent)
    activation = _activation(source, "activation")
    if gates == 1:
        return Elman(hidden, activation=activation, use_bias=biased), ElmanParams(w_x, w_h, b)
    cell = LSTM(
        hidden,
        candidate_activation=activation,
        output_activation=activation,
        gate_activation=_activation(source, "recurrent_activation"),
        use_bias=biased,
    )
    return cell, LSTMParams(w_x, w_h, b, None, None, None)


def _activation(source: Tensors, name: str) -> str:
    """An activation that all cells share, by our name."""
    told = source.option(name)
    return _ACTIVATIONS.get(told, told)


def _gru_from(source: Tensors, place: str, kernel: np.ndarray, recurrent: np.ndarray) -> Converted:
    hidden, width = recurrent.shape
    b = b_n = None
    if f"{place}bias" in source:
        reset_after = len(source.shape(f"{place}bias")) == 2
        if source.told("reset_after") == (not reset_after):
            shape, other = (f"[2, {width}]", f"[{width}]")[:: 1 if reset_after else -1]
            raise source.validation_error(
                f"{place}bias", f"the shape {other} expected with reset_after={not reset_after}, found {shape}"
            )
        if reset_after:
            outside, inside = reordered(source.take(f"{place}bias", 2, width), _GRU)
            b = np.concatenate([outside[: 2 * hidden] + inside[: 2 * hidden], outside[2 * hidden :]])
            b_n = parameter(inside[2 * hidden :])
        else:
            b = reordered(source.take(f"{place}bias", width), _GRU)
    else:
        reset_after = source.option("reset_after")
    cell = GRU(
        hidden,
        reset_after=reset_after,
        candidate_activation=_activation(source, "activation"),
        gate_activation=_activation(source, "recurrent_activation"),
        use_bias=b is not None,
    )
    w_x, w_h = parameter(reordered(kernel, _GRU)), parameter(reordered(recurrent, _GRU))
    return cell, GRUParams(w_x, w_h, None if b is None else parameter(b), b_n)


def _nested_from(source: Tensors) -> Converted:
    depth = sum(name.startswith("kernel_") for name in source.names)
    hidden = source.take("kernel_1", None, None).shape[0]
    biased = "bias_1" in source
    params: Any = None
    for level in reversed(range(1, depth + 1)):
        if level == 1:
            w_x = source.take("input_kernel_1", None, 4 * hidden)
            w_h = source.take("kernel_1", hidden, 4 * hidden)
        else:
            w_x, w_h = np.split(source.take(f"kernel_{level}", 2 * hidden, 4 * hidden), 2)
        b = parameter(reordered(source.take(f"bias_{level}", 4 * hidden), _NESTED)) if biased else None
        kernels = parameter(reordered(w_x, _NESTED)), parameter(reordered(w_h, _NESTED))
        innermost = level == depth
        params = LSTMParams(*kernels, b, None, None, None) if innermost else NestedParams(*kernels, b, params)
    activation = _activation(source, "activation")
    cell = nested_lstm(
        hidden,
        depth,
        "add",
        inner_activation=activation,
        output_activation=activation,
        gate_activation=_activation(source, "recurrent_activation"),
        use_bias=biased,
    )
    return cell, params


def _cell_to(cell: Layer, params: Any) -> dict[str, np.ndarray]:
    if isinstance(cell, Nested):
        return _nested_to(cell, params)
    if not isinstance(cell, LSTM | GRU | Elman):
        raise no_such_cell("to_keras", cell, "an LSTM, GRU, Elman or nested_lstm(gating='add')")
    order = _GRU if isinstance(cell, GRU) else None
    kernels = {"kernel": numpy(params.w_x), "recurrent_kernel": numpy(params.w_h)}
    biases = {} if params.b is None else {"bias": numpy(params.b)}
    if isinstance(cell, LSTM):
        expect("to_keras", cell, gating="multiply", peephole=False, projection=None, layer_norm=False)
        expect("to_keras", cell, output_activation=cell.candidate_activation)
    elif isinstance(cell, GRU) and cell.reset_after and params.b is not None:
        inside = np.concatenate([np.zeros_like(numpy(params.b)[: 2 * cell.features]), numpy(params.b_n)])
        biases["bias"] = np.stack([numpy(params.b), inside])
    return {name: reordered(value, order) if order else value for name, value in (kernels | biases).items()}


def _nested_to(cell: Nested, params: Any) -> dict[str, np.ndarray]:
    kernels: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}
    for number, (level, own) in enumerate(_levels(cell, params), start=1):
        expect("to_keras", level, gating="add", output_activation=cell.output_activation)
        expect("to_keras", level, candidate_activation=cell.output_activation if number > 1 else "identity")
        w_x, w_h = (reordered(numpy(w), _NESTED) for w in (own.w_x, own.w_h))
        if number == 1:
            kernels |= {"input_kernel_1": w_x, "kernel_1": w_h}
        else:
            kernels[f"kernel_{number}"] = np.concatenate([w_x, w_h])
        if own.b is not None:
            biases[f"bias_{number}"] = reordered(numpy(own.b), _NESTED)
    return kernels | biases


def _levels(cell: Layer, params: Any) -> list[Converted]:
    """A nested cell's levels, outermost first."""
    if isinstance(cell, Nested):
        return [(cell, params), *_levels(bare(cell.inner), params.inner)]
    if not isinstance(cell, LSTM):
        raise no_such_cell("to_keras", cell, "an LSTM as the innermost level")
    expect("to_keras", cell, peephole=False, projection=None, layer_norm=False)
    return [(cell, params)]
