"""HDF5 files of Keras: `.weights.h5` of Keras 3, and `.h5` of a model or of weights, as Keras 1 to 3 write them.

A `.weights.h5` file has numbered variables, `layers/lstm/cell/vars/0`. The others have a group for every layer. Their
attributes `layer_names` and `weight_names` tell the order; a model's file has the model's configuration as well.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlstm_jax.adapters.weights.formats import keras_config
from nlstm_jax.adapters.weights.formats.stored import (
    KerasLayer,
    StoredWeights,
    check_size,
    first_line,
    import_reader,
)
from nlstm_jax.adapters.weights.tensors import natural_sort_key
from nlstm_jax.errors import DataError

_MODEL_WEIGHTS = "model_weights/"
"""The group of the layers in the file of a whole model."""


def read_hdf5(path: Path, content: bytes | None = None) -> StoredWeights:
    """Read an HDF5 file.

    Args:
        path: The file, named in errors.
        content: The bytes of an HDF5 file inside of the file at `path`; None: the file itself.

    Raises:
        ConfigError: h5py is not installed.
        DataError: It is not an HDF5 file, an array is not stored in it, or an array claims more than it holds.
    """
    h5py = import_reader("h5py", path, "an HDF5 file")
    source = path if content is None else io.BytesIO(content)
    try:
        with h5py.File(source, "r") as file:
            datasets = _find_datasets(h5py, file)
            for name, dataset in datasets.items():
                _check_dataset(path, name, dataset)
            if _layer_names(file) or any(name.startswith(_MODEL_WEIGHTS) for name in datasets):
                return _read_by_layers(path, file, datasets)
            names = sorted(datasets, key=natural_sort_key)
            return StoredWeights({name: datasets[name][()] for name in names})
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"{path}: an HDF5 file expected: {first_line(error)}") from error


def _find_datasets(h5py: Any, file: Any) -> dict[str, Any]:
    """Return the datasets by path. Links to other files are not followed."""
    datasets: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[name] = item

    file.visititems(visit)
    return datasets


def _check_dataset(path: Path, name: str, dataset: Any) -> None:
    """Check that a dataset is an array of numbers that the file holds."""
    if dataset.dtype.kind not in "biuf":
        raise DataError(f"{path}: {name}: an array of numbers expected, found one of {dataset.dtype}")
    if dataset.external or dataset.is_virtual:
        raise DataError(f"{path}: {name}: an array inside of the file expected, found one in another file")
    stored = dataset.id.get_storage_size()
    check_size(path, name, dataset.nbytes, stored, is_compressed=dataset.chunks is not None and stored > 0)


def _read_by_layers(path: Path, file: Any, datasets: Mapping[str, Any]) -> StoredWeights:
    """Return the arrays of a file with a group for every layer, in the order of the layers."""
    group_prefix = "" if _layer_names(file) else _MODEL_WEIGHTS
    root = file[group_prefix] if group_prefix else file
    paths: dict[str, str] = {}
    for layer in _layer_names(root):
        for weight in _read_names(root[layer].attrs, "weight_names"):
            name = _weight_name(layer, weight)
            if name in paths:
                raise DataError(f"{path}: {name}: one array of each name expected, found two")
            paths[name] = f"{group_prefix}{layer}/{weight}"

    tensors: dict[str, np.ndarray] = {name: datasets[location][()] for name, location in paths.items()}
    layers: tuple[KerasLayer, ...] = ()
    in_layer_order = False
    if "model_config" in file.attrs:
        config = json.loads(_to_text(file.attrs["model_config"]))
        version = _to_text(root.attrs.get("keras_version", file.attrs.get("keras_version", "")))
        model = keras_config.read_model_config(path, config, version)
        layers = keras_config.recurrent_layers(path, model)
        in_layer_order = keras_config.is_sequential(config)
    return StoredWeights(tensors, in_layer_order=in_layer_order, keras_layers=layers)


def _weight_name(layer: str, weight: str) -> str:
    """Return the name of a weight from its layer's name on: `sequential/lstm/kernel` of `lstm` is `lstm/kernel`."""
    parts = weight.split("/")
    if layer in parts:
        return "/".join(parts[parts.index(layer) :])
    return f"{layer}/{weight}"


def _layer_names(group: Any) -> list[str]:
    return _read_names(group.attrs, "layer_names")


def _read_names(attributes: Any, key: str) -> list[str]:
    """Return a list of names in the attributes of a group. A long list is in parts, `layer_names0` and so on."""
    parts: list[Sequence[Any]] = []
    if key in attributes:
        parts.append(attributes[key])
    while f"{key}{len(parts)}" in attributes:
        parts.append(attributes[f"{key}{len(parts)}"])
    return [_to_text(name) for part in parts for name in part]


def _to_text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
