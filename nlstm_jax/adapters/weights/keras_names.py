"""Names of Keras weights: the layers and directions that they belong to, and the order of the layers.

Keras writes one weight under many names. `lstm/lstm_cell/kernel` is the path in Keras 3, `lstm/lstm_cell/kernel:0` the
name in Keras 2 and TensorFlow 1, and `layers/lstm/cell/vars/0` the name in a `.weights.h5` file.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.tensors import NamedTensors, Tensors, flatten
from nlstm_jax.errors import DataError

_FIELDS = ("kernel", "recurrent_kernel", "bias")
DIRECTIONS = ("forward", "backward")
_NUMBERED = re.compile(r"(?P<scope>(.*/)?)vars/(?P<index>\d+)")
_CELL = re.compile(r"(cell|(lstm|gru|simple_rnn)_cell(_\d+)?)")
"""The last part of a layer's path that names the cell, not the layer."""
_NO_WEIGHTS = re.compile(
    r"(^|/)(optimizer|optimizer_weights|seed_generator(_\d+)?|top_level_model_weights|\.OPTIMIZER_SLOT)/"
    r"|^(keras_api/)?metrics/|^(save_counter|_CHECKPOINTABLE_OBJECT_GRAPH)$"
)
"""The arrays that a model's file holds beside its weights."""


def normalize_names(tensors: NamedTensors) -> dict[str, Any]:
    """Return the weights by their paths in Keras 3, without the arrays of an optimizer or a random generator.

    A group `…/vars/0`, `…/vars/1`, … is that of a recurrent cell if its first two arrays are matrices of one width.
    """
    flat = {name: value for name, value in flatten(tensors) if not _NO_WEIGHTS.search(name)}
    return {_field_name(name, flat): value for name, value in flat.items()}


def _field_name(name: str, flat: Mapping[str, Any]) -> str:
    """Return the name with `vars/0` replaced by the name of the field; any other name is returned unchanged."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return name
    scope = match["scope"]
    first, second = (np.shape(flat.get(f"{scope}vars/{index}", ())) for index in (0, 1))
    is_recurrent = len(first) == 2 and len(second) == 2 and first[1] == second[1]
    fields = _FIELDS if is_recurrent else ("kernel", "bias")
    index = int(match["index"])
    if index >= len(fields):
        return name
    return scope + fields[index]


def check_order(tensors: NamedTensors, prefix: str = "") -> None:
    """Check that layer names tell the order of a stack, for tensors that are sorted by name.

    The names `lstm` and `lstm_1` tell the order; `gru` and `lstm` do not.

    Args:
        tensors: The arrays by path, as for `from_keras`.
        prefix: The beginning of the layers' names in a model's weights.

    Raises:
        DataError: The names do not tell the order.

    >>> import numpy as np
    >>> shapes = {"kernel": (3, 16), "recurrent_kernel": (4, 16), "bias": (16,)}
    >>> layer = {f"lstm_cell/{name}": np.zeros(shape) for name, shape in shapes.items()}
    >>> check_order({f"{name}/{path}": value for name in ("lstm", "lstm_1") for path, value in layer.items()})
    """
    source = Tensors(normalize_names(tensors), "from_keras", prefix)
    names = _recurrent_layers(source, find_layers(source))
    names_without_numbers = {_without_repetitions(name).rstrip("_0123456789") for name in names}
    if len(names_without_numbers) > 1:
        raise DataError(
            "from_keras: layers: the names of a stack's layers, lowest first, expected, as these do not tell their "
            f"order: {', '.join(names)}"
        )


def _without_repetitions(path: str) -> str:
    """Return a path with the last of equal parts only: `lstm/sequential/lstm` in an HDF5 file is `sequential/lstm`."""
    parts = dict.fromkeys(reversed(path.split("/")))
    return "/".join(reversed(parts))


def find_layers(source: Tensors) -> dict[str, list[str]]:
    """Return the scopes of each layer's cells, by the layer's name.

    A scope is the beginning of a cell's names, e.g. `lstm/lstm_cell/`. A layer has one scope, or a forward and a
    backward one.

    Raises:
        DataError: A layer has one of the two directions only.
    """
    scopes_by_layer: dict[str, dict[str, str]] = {}
    for name in source.names:
        path, _, field = name.rpartition("/")
        layer, direction = _split_path(path)
        if field in _FIELDS:
            scope = f"{path}/" if path else ""
            scopes_by_layer.setdefault(layer, {})[direction] = scope

    for scopes in scopes_by_layer.values():
        for direction, other in (("forward", "backward"), ("backward", "forward")):
            if direction in scopes and other not in scopes:
                raise source.tensor_error(
                    scopes[direction], f"a {other} layer beside it expected, found none of that name"
                )

    # In reverse order of the alphabet, "forward" comes before "backward".
    return {
        layer: [scopes[direction] for direction in sorted(scopes, reverse=True)]
        for layer, scopes in scopes_by_layer.items()
    }


def _split_path(path: str) -> tuple[str, str]:
    """Return the layer and the direction of a path such as `bidirectional/forward_lstm/lstm_cell`.

    The direction of a path without one is the empty text. The layer of `sequential/lstm/lstm_cell` is
    `sequential/lstm`.
    """
    parts = path.split("/")
    for index, part in enumerate(parts):
        for direction in DIRECTIONS:
            if part.startswith(direction):
                return "/".join(parts[:index]), direction
    if len(parts) > 1 and _CELL.fullmatch(parts[-1]):
        parts.pop()
    return "/".join(parts), ""


def _recurrent_layers(source: Tensors, scopes_by_layer: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of the layers that have a recurrent kernel; a dense layer has none."""
    return [name for name, scopes in scopes_by_layer.items() if f"{scopes[0]}recurrent_kernel" in source]


def check_all_recurrent(source: Tensors, scopes_by_layer: Mapping[str, Sequence[str]]) -> None:
    """Raise a DataError if there are recurrent layers and others; the message suggests `layers=`."""
    recurrent = _recurrent_layers(source, scopes_by_layer)
    if not recurrent:
        # Reading the first layer fails then, with an error that names its recurrent kernel.
        return
    for name, scopes in scopes_by_layer.items():
        if name not in recurrent:
            raise source.tensor_error(
                f"{scopes[0]}recurrent_kernel",
                f"missing; if that is no recurrent layer, layers=… picks those that are: {', '.join(recurrent)}",
            )


def select_layers(names: Sequence[str], scopes_by_layer: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the scopes of the named layers, in the order of `names`.

    Raises:
        DataError: A name does not name exactly one layer, or a layer is named twice.
    """
    layers = [_find_layer(name, scopes_by_layer) for name in names]
    if len(set(layers)) < len(layers):
        raise DataError(f"from_keras: layers: every layer once expected, found {', '.join(names)}")
    return {layer: scopes_by_layer[layer] for layer in layers}


def _find_layer(name: str, layers: Collection[str]) -> str:
    """Return the one layer whose path is `name` or has it as a part, as `sequential/lstm` has `lstm`.

    Raises:
        DataError: There is no such layer, or there are several.
    """
    matches = [layer for layer in layers if name in (layer, *layer.split("/"))]
    if len(matches) != 1:
        raise DataError(f"from_keras: layers: the name of one layer of {', '.join(layers)} expected, found {name!r}")
    return matches[0]
