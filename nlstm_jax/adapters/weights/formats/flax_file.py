"""Weights of Flax: msgpack files of `flax.serialization.to_bytes`, and folders that orbax wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization

from nlstm_jax.adapters.weights.formats.stored import StoredWeights, check_size, first_line
from nlstm_jax.adapters.weights.tensors import flatten, natural_sort_key
from nlstm_jax.errors import DataError

_ITEM_FOLDERS = ("default", "params", "state", "model_params")
"""The folder of the arrays in a step's folder, as orbax' CheckpointManager writes it."""


def read_msgpack(path: Path) -> StoredWeights:
    """Read a file that `flax.serialization.to_bytes` or `msgpack_serialize` wrote.

    Raises:
        DataError: It is not such a file.
    """
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
    # Damaged bytes raise errors of many types, and a user needs one line for all of them.
    except Exception as error:
        raise DataError(f"{path}: a msgpack file of Flax expected: {first_line(error)}") from error
    return _to_stored(path, tree)


def is_orbax_folder(path: Path) -> bool:
    """Return True if orbax wrote the folder."""
    return any((path / name).exists() for name in ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt"))


def read_orbax(path: Path) -> StoredWeights:
    """Read the arrays in a folder that orbax wrote: a checkpoint, or one step of a CheckpointManager.

    Raises:
        DataError: orbax cannot read the folder, or an array claims more bytes than the folder can hold.
    """
    folder = path
    if not (folder / "_METADATA").exists():
        folder = next((path / name for name in _ITEM_FOLDERS if (path / name / "_METADATA").exists()), path)
    try:
        checkpointer = ocp.PyTreeCheckpointer()
        metadata = checkpointer.metadata(folder.resolve()).item_metadata.tree
        _check_sizes(path, metadata)
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
        tree = checkpointer.restore(folder.resolve(), restore_args=as_numpy)
    except DataError:
        raise
    # A damaged folder raises errors of many types, and a user needs one line for all of them.
    except Exception as error:
        raise DataError(f"{path}: a folder of orbax expected: {first_line(error)}") from error
    return _to_stored(path, tree)


def _check_sizes(path: Path, metadata: Any) -> None:
    """Check that the arrays claim no more bytes than the folder, which orbax compresses, can hold."""
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    claimed = 0
    for leaf in jax.tree.leaves(metadata):
        shape = getattr(leaf, "shape", None) or ()
        item_size = np.dtype(getattr(leaf, "dtype", None) or np.float32).itemsize
        # Python's integers do not overflow, as NumPy's product would.
        size = item_size
        for axis in shape:
            size *= int(axis)
        claimed += size
    check_size(path, "all arrays", claimed, stored, is_compressed=True)


def _to_stored(path: Path, tree: Any) -> StoredWeights:
    """Return the arrays of nested dictionaries. The `value` that ends the names of NNX variables is removed."""
    if not isinstance(tree, Mapping):
        raise DataError(f"{path}: nested dictionaries of arrays expected, found {type(tree).__name__}")
    arrays: dict[str, np.ndarray] = {}
    for name, value in flatten(tree):
        if isinstance(value, np.ndarray | np.number | jax.Array):
            arrays[name.removesuffix("/value")] = np.asarray(value)
    if not arrays:
        raise DataError(f"{path}: nested dictionaries of arrays expected, found no array")
    return StoredWeights({name: arrays[name] for name in sorted(arrays, key=natural_sort_key)})
