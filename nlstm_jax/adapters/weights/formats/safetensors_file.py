"""Safetensors files: a header in JSON with the names, types and places of the arrays, then their bytes."""

import struct
from pathlib import Path

import numpy as np

from nlstm_jax.adapters.weights.formats.stored import StoredWeights, check_size, first_line, import_reader
from nlstm_jax.adapters.weights.tensors import natural_sort_key
from nlstm_jax.errors import DataError

_LENGTH_BYTES = 8
"""The number of bytes that state the length of the header."""


def read_safetensors(path: Path) -> StoredWeights:
    """Read a safetensors file.

    Raises:
        ConfigError: safetensors is not installed.
        DataError: It is not a safetensors file, or it claims more bytes than it holds.
    """
    safetensors = import_reader("safetensors", path, "a safetensors file")
    _check_header(path)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            names = sorted(file.keys(), key=natural_sort_key)
            arrays: dict[str, np.ndarray] = {name: file.get_tensor(name) for name in names}
            return StoredWeights(arrays, metadata=file.metadata() or {})
    except (safetensors.SafetensorError, struct.error, OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: a safetensors file expected: {first_line(error)}") from error


def _check_header(path: Path) -> None:
    """Check that the header is not longer than the rest of the file."""
    with path.open("rb") as file:
        length_bytes = file.read(_LENGTH_BYTES)
    if len(length_bytes) < _LENGTH_BYTES:
        raise DataError(f"{path}: a safetensors file expected: a header expected, found {len(length_bytes)} bytes")
    (length,) = struct.unpack("<Q", length_bytes)
    check_size(
        path,
        "a safetensors file expected: the header",
        length,
        path.stat().st_size - _LENGTH_BYTES,
        is_compressed=False,
    )
