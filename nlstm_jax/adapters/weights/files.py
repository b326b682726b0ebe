"""Files of weights: arrays of any framework by name, and layers with their specification in `.safetensors` files."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax import cells
from nlstm_jax.adapters.weights.formats import read_weights_file
from nlstm_jax.adapters.weights.formats.stored import import_reader
from nlstm_jax.adapters.weights.tensors import Converted, Tensors, to_numpy, to_parameter
from nlstm_jax.cells import Layer
from nlstm_jax.errors import ConfigError, DataError, StorageError
from nlstm_jax.types import Array, Params

_SPECIFICATION = "nlstm_jax.layer"
"""The key of a file's metadata under which the layer's specification is."""

_EARLIER_NAMES = {"SequenceDropout": "VariationalDropout"}
"""The layer names in files of version 0.2 and earlier, and the names of today."""


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file or folder by name. Its content tells the format, not its name.

    Args:
        path: A safetensors file, a `.keras` or `.h5` file of Keras, a PyTorch file of a state dict, a msgpack file of
            Flax, a folder of orbax, or a TensorFlow checkpoint.

    Returns:
        The arrays, in the order of the layers where the file tells it, otherwise sorted by the numbers in the names
        (layer_2 before layer_10).

    Raises:
        ConfigError: The package that reads this kind of file is not installed.
        DataError: There is no such file, it is damaged, or it is of another kind.
    """
    return read_weights_file(path).tensors


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], specification: str = "") -> None:
    """Write named arrays to a file. If writing fails, an existing file stays as it was.

    Args:
        path: The file to write; its name ends in .safetensors.
        tensors: The arrays by name.
        specification: The specification of a layer in JSON, which is stored in the file's metadata; empty for none.

    Raises:
        ConfigError: The name does not end in .safetensors, its folder does not exist, or safetensors is not installed.
        StorageError: The file cannot be written, e.g. on a full disk. An earlier file is left as it was.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise ConfigError(f"{path}: a name that ends in .safetensors, in a folder that is there, expected")
    numpy_format = import_reader("safetensors.numpy", path, "a safetensors file")
    # NumPy's ascontiguousarray turns a scalar into a vector; reshape restores its shape.
    contiguous = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in tensors.items()}
    metadata = {_SPECIFICATION: specification} if specification else None
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        # save_file would make a file that only its owner can read.
        unfinished.write_bytes(numpy_format.save(contiguous, metadata))
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None


def save(path: str | Path, layer: Layer, params: Params) -> None:
    """Write a layer and its parameters to a file that `load` reads.

    Args:
        path: The file to write; its name ends in .safetensors.
        layer: The layer, of a type in `nlstm_jax.cells`.
        params: The layer's parameters.

    Raises:
        ConfigError: The name does not end in .safetensors, or its folder does not exist.
        ValueError: The layer, or a layer inside it, is not of a type in `nlstm_jax.cells`.
    """
    tensors = {name: to_numpy(leaf) for name, leaf in _leaves_by_path(params).items()}
    in_features = next(tensor.shape[0] for name, tensor in tensors.items() if name.rpartition("/")[2] == "w_x")
    specification = {"layer": _to_json(layer), "in_features": in_features}
    write_tensors(path, tensors, json.dumps(specification))


def load(path: str | Path) -> Converted:
    """Read a layer and its parameters from a file that `save` wrote.

    Raises:
        DataError: There is no such file, `save` did not write it, or its tensors do not fit its layer.
    """
    stored = read_weights_file(path)
    metadata = stored.metadata
    if _SPECIFICATION not in metadata:
        raise DataError(
            f"{path}: a file with a layer's specification expected, found none; "
            "from_torch, from_keras, from_tensorflow1 and from_flax (convert --from=…) read other frameworks' tensors"
        )
    try:
        specification = json.loads(metadata[_SPECIFICATION])
        layer = _from_json(specification["layer"])
        expected_params = jax.eval_shape(lambda: layer.init(jax.random.key(0), specification["in_features"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: the specification of a layer of this version expected: {error}") from error

    source = Tensors(stored.tensors, str(path), "")
    leaves = [
        to_parameter(source.take(name, *expected.shape)) for name, expected in _leaves_by_path(expected_params).items()
    ]
    source.check_all_used()
    return layer, jax.tree.unflatten(jax.tree.structure(expected_params), leaves)


def _leaves_by_path(params: Params) -> dict[str, Array]:
    """Return the leaves by their paths, e.g. `layers/0/w_h`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _to_json(value: Any) -> object:
    """Return a layer, or the value of one of its fields, as JSON values.

    Raises:
        ValueError: A layer is not of a type in `nlstm_jax.cells`.
    """
    type_name = type(value).__name__
    fields = _field_names(value)
    if fields:
        if getattr(cells, type_name, None) is not type(value):
            raise ValueError(f"save: a layer of nlstm_jax.cells expected, found {type(value).__module__}.{type_name}")
        return {"type": type_name} | {field: _to_json(getattr(value, field)) for field in fields}
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    # The only other values are dtypes.
    return jnp.dtype(value).name


def _field_names(value: object) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass or NamedTuple; of any other value, an empty tuple."""
    names: tuple[str, ...] = ()
    if dataclasses.is_dataclass(value):
        names = tuple(field.name for field in dataclasses.fields(value))
    return names or getattr(value, "_fields", ())


def _from_json(description: object) -> Any:
    """Return the layer, or the value of a field, that `_to_json` described.

    Raises:
        ValueError: The description names a type that is not in `nlstm_jax.cells`.
    """
    if isinstance(description, list):
        return tuple(_from_json(item) for item in description)
    if not isinstance(description, dict):
        return description
    fields = {field: _from_json(value) for field, value in description.items() if field != "type"}
    type_name = _EARLIER_NAMES.get(description["type"], description["type"])
    if type_name not in cells.__all__:
        raise ValueError(f"{type_name!r} is no layer of nlstm_jax.cells")
    return getattr(cells, type_name)(**fields)
