"""TensorFlow's checkpoints, of versions 1 and 2: an `.index` file and `.data-…` files, read by TensorFlow."""

from pathlib import Path

import numpy as np

from nlstm_jax.adapters.weights.formats.stored import StoredWeights, first_line, import_reader
from nlstm_jax.adapters.weights.tensors import natural_sort_key
from nlstm_jax.errors import DataError

_SUFFIXES = (".index", ".data-", ".meta")
"""The beginnings of the suffixes of a checkpoint's files."""


def find_checkpoint(path: Path) -> Path | None:
    """Return the prefix of the checkpoint's files, if `path` is it, one of these files or their folder."""
    if path.is_dir():
        indices = sorted(path.glob("*.index"), key=lambda index: natural_sort_key(index.name))
        if len(indices) == 1:
            return indices[0].with_suffix("")
        return None
    prefix = path
    if path.suffix.startswith(_SUFFIXES):
        prefix = path.with_suffix("")
    elif path.is_file():
        return None
    return prefix if prefix.with_name(f"{prefix.name}.index").is_file() else None


def read_checkpoint(path: Path, prefix: Path) -> StoredWeights:
    """Read all numeric variables of a checkpoint.

    Args:
        path: The path that the user named, for errors.
        prefix: The prefix of the checkpoint's files.

    Raises:
        ConfigError: TensorFlow is not installed.
        DataError: TensorFlow cannot read the checkpoint.
    """
    tensorflow = import_reader("tensorflow", path, "a TensorFlow checkpoint")
    errors = (tensorflow.errors.OpError, ValueError, RuntimeError)
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        dtypes = reader.get_variable_to_dtype_map()
        names = [name for name, dtype in dtypes.items() if dtype.is_floating or dtype.is_integer]
        names.sort(key=natural_sort_key)
        tensors: dict[str, np.ndarray] = {name: np.asarray(reader.get_tensor(name)) for name in names}
    except errors as error:
        raise DataError(f"{path}: a TensorFlow checkpoint expected: {first_line(error)}") from error
    return StoredWeights(tensors)
