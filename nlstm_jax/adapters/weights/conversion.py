"""A file of another framework's weights as a layer, with what the file tells of it and what is assumed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlstm_jax.adapters.weights.flax import from_flax
from nlstm_jax.adapters.weights.formats import KerasLayer, StoredWeights, read_weights_file
from nlstm_jax.adapters.weights.keras import from_keras
from nlstm_jax.adapters.weights.keras_names import check_order
from nlstm_jax.adapters.weights.options import Converter, assumed_fields, option_names
from nlstm_jax.adapters.weights.tensorflow1 import from_tensorflow1
from nlstm_jax.adapters.weights.torch import from_torch
from nlstm_jax.cells import Layer
from nlstm_jax.errors import DataError
from nlstm_jax.types import Params

SOURCES: dict[str, Converter] = {
    "torch": from_torch,
    "keras": from_keras,
    "tensorflow1": from_tensorflow1,
    "flax": from_flax,
}
"""The converter of each framework."""


@dataclass(frozen=True)
class Conversion:
    """A converted layer.

    Attributes:
        layer: The layer.
        params: The layer's parameters.
        told: The options that the file tells, as `name=value`.
        assumed: The fields of the layer that neither the weights nor the file nor the caller tells, as `name=value`.
        notes: Sentences on what the file says that a layer does not have.
    """

    layer: Layer
    params: Params
    told: list[str]
    assumed: list[str]
    notes: list[str]


def convert_file(
    path: str | Path, framework: str, prefix: str = "", options: Mapping[str, Any] | None = None
) -> Conversion:
    """Read a file of another framework's weights, and convert them.

    Args:
        path: The file or folder, of any format that `read_tensors` reads.
        framework: The framework, a key of `SOURCES`.
        prefix: The beginning of the names of the layer's tensors.
        options: The keyword arguments of the converter. They take precedence over what the file tells.

    Raises:
        ConfigError: The package that reads this kind of file is not installed.
        DataError: The file cannot be read, or its tensors are not those of a layer.
    """
    given = dict(options or {})
    stored = read_weights_file(path)
    layers: list[KerasLayer] = []
    told: dict[str, Any] = {}
    if framework == "keras":
        layers = _select_layers(stored.keras_layers, prefix, given.get("layers", ()))
        told = _told_options(path, layers, given)
        if "layers" not in given:
            _check_order(path, stored, layers, prefix)

    converter = SOURCES[framework]
    layer, params = converter(stored.tensors, prefix, **told, **given)
    notes = [
        f"{keras_layer.name}: go_backwards=True in the file; run the layer with reverse=True"
        for keras_layer in layers
        if keras_layer.goes_backwards
    ]
    assumed = assumed_fields(layer, option_names(converter) - set(told) - set(given))
    return Conversion(layer, params, [f"{name}={value}" for name, value in told.items()], assumed, notes)


def _select_layers(layers: Sequence[KerasLayer], prefix: str, names: Sequence[str]) -> list[KerasLayer]:
    """Return the layers with this prefix and, if any names are passed, with one of these names."""
    selected = [layer for layer in layers if f"{layer.name}/".startswith(prefix)]
    if names:
        selected = [layer for layer in selected if layer.name in names]
    return selected


def _told_options(path: str | Path, layers: Sequence[KerasLayer], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a file tells and the caller does not.

    Raises:
        DataError: Two layers have different values of an option, which `from_keras` has for all layers.
    """
    told: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for layer in layers:
        for name, value in layer.options.items():
            if name in given:
                continue
            if told.setdefault(name, value) != value:
                raise DataError(
                    f"{path}: {name}: one value for all layers expected, found {told[name]} in {owners[name]} and "
                    f"{value} in {layer.name}; --option=layers=… picks those alike"
                )
            owners.setdefault(name, layer.name)
    return told


def _check_order(path: str | Path, stored: StoredWeights, layers: Sequence[KerasLayer], prefix: str) -> None:
    """Check that a file tells the order of the layers of a stack, and that each reads the outputs of the one before.

    Raises:
        DataError: Another layer is between two recurrent ones, or neither the file nor the names tell the order.
    """
    for layer in layers[1:]:
        if layer.between:
            raise DataError(
                f"{path}: {layer.name}: the outputs of a recurrent layer as inputs expected, found those of "
                f"{', '.join(layer.between)}; --option=layers=… picks the layers of a stack"
            )
    if not stored.in_layer_order:
        if len(layers) > 1:
            names = ", ".join(layer.name for layer in layers)
            raise DataError(
                f"{path}: layers: the names of a stack's layers, lowest first, expected, as a model that is not a "
                f"Sequential does not tell their order: {names}"
            )
        check_order(stored.tensors, prefix)
