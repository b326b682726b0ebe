"""Weights in `.safetensors` files: other frameworks' as named arrays, ours with the cell's specification too."""

import dataclasses
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax import cells
from nlstm_jax.adapters.weights.tensors import Converted, Tensors, natural, numpy, parameter
from nlstm_jax.cells import Layer
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.types import Params

_SPECIFICATION = "nlstm_jax.layer"
_PICKLED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".h5", ".hdf5", ".keras", ".msgpack")


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name, in the order of the names' numbers (layer_2 before layer_10).

    Raises:
        DataError: no such file, or it is no safetensors file.
    """
    return dict(sorted(_open(path)[0].items(), key=lambda item: natural(item[0])))


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray], specification: str = "") -> None:
    """Write named arrays, whole or not at all.

    Raises:
        ConfigError: the name does not end in .safetensors, or its folder is not there.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise ConfigError(f"{path}: a name that ends in .safetensors, in a folder that is there, expected")
    # reshape, as NumPy makes a contiguous scalar a vector.
    contiguous = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in tensors.items()}
    unfinished = path.with_name(f".{path.name}.unfinished")
    save_file(contiguous, unfinished, {_SPECIFICATION: specification} if specification else None)
    unfinished.replace(path)


def save(path: str | Path, layer: Layer, params: Params) -> None:
    """Write a layer and its parameters, to be read by `load`.

    Raises:
        ConfigError: as `write_tensors`.
        ValueError: the layer is not one of this package's.
    """
    named = {name: numpy(leaf) for name, leaf in _named(params).items()}
    in_features = next(leaf.shape[0] for name, leaf in named.items() if name.rpartition("/")[2] == "w_x")
    write_tensors(path, named, json.dumps({"layer": _described(layer), "in_features": in_features}))


def load(path: str | Path) -> Converted:
    """A layer and its parameters, from `save`.

    Raises:
        DataError: no such file, or not one that `save` wrote, or its tensors are not those of its layer.
    """
    arrays, metadata = _open(path)
    if _SPECIFICATION not in metadata:
        raise DataError(
            f"{path}: a file with a layer's specification expected, found none; "
            "from_torch, from_keras, from_tensorflow1 and from_flax (convert --from=…) read other frameworks' tensors"
        )
    try:
        specification = json.loads(metadata[_SPECIFICATION])
        layer = _built(specification["layer"])
        shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), specification["in_features"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: the specification of a layer of this version expected: {error}") from error
    source = Tensors(arrays, str(path), "")
    taken = {name: parameter(source.take(name, *leaf.shape)) for name, leaf in _named(shapes).items()}
    source.finish()
    return layer, jax.tree.unflatten(jax.tree.structure(shapes), [taken[name] for name in _named(shapes)])


def _open(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix in _PICKLED:
        raise DataError(
            f"{path}: a .safetensors file expected, found {path.suffix}, which is not read here; where its framework "
            "is installed, safetensors.torch.save_file or safetensors.numpy.save_file writes one"
        )
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, struct.error, OSError, TypeError) as error:
        raise DataError(f"{path}: a safetensors file expected: {error}") from error


def _named(params: Params) -> dict[str, Any]:
    """The leaves by the path of their place, e.g. `layers/0/w_h`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _described(value: Any) -> Any:
    """A specification in JSON values."""
    fields = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else ()
    fields = fields or getattr(value, "_fields", ())
    name = type(value).__name__
    if fields:
        if getattr(cells, name, None) is not type(value):
            raise ValueError(f"save: a layer of nlstm_jax.cells expected, found {type(value).__module__}.{name}")
        return {"type": name} | {field: _described(getattr(value, field)) for field in fields}
    if isinstance(value, tuple):
        return [_described(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else jnp.dtype(value).name


_EARLIER_NAMES = {"SequenceDropout": "VariationalDropout"}
"""Names of layers in files of version 0.2 and earlier, and what they are called now."""


def _built(description: Any) -> Any:
    """The specification that was described."""
    if isinstance(description, list):
        return tuple(_built(part) for part in description)
    if not isinstance(description, dict):
        return description
    fields = {field: _built(value) for field, value in description.items() if field != "type"}
    name = _EARLIER_NAMES.get(description["type"], description["type"])
    if name not in cells.__all__:
        raise ValueError(f"{name!r} is no layer of nlstm_jax.cells")
    return getattr(cells, name)(**fields)
