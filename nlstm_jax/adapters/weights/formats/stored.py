"""The contents of a file of weights, and the checks that all formats share."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from nlstm_jax.errors import ConfigError, DataError

_INSTALL_COMMANDS = {
    "h5py": "pip install -e '.[export]'",
    "safetensors": "pip install -e '.[export]'",
    "tensorflow": "pip install tensorflow",
    "torch": "pip install torch",
}
"""The command that installs each package that a format needs."""

_MAX_EXPANSION = 64
"""The largest number of bytes in memory for each stored byte of compressed data."""

_ALWAYS_ACCEPTED_BYTES = 2**28
"""The number of bytes that compressed data may claim whatever their stored size."""


@dataclass(frozen=True)
class KerasLayer:
    """A recurrent layer, as the configuration in a Keras file describes it.

    Attributes:
        name: The layer's name, which begins the names of its tensors.
        options: The keyword arguments of `from_keras` that the configuration tells, e.g. `activation`.
        goes_backwards: True if the layer reads sequences from the last step to the first.
        between: The names of the layers between it and the recurrent layer below that change values.
    """

    name: str
    options: Mapping[str, str | bool]
    goes_backwards: bool
    between: tuple[str, ...]


@dataclass(frozen=True)
class StoredWeights:
    """The arrays of a file by name, and what else the file tells of them.

    Attributes:
        tensors: The arrays by name: in the order of the layers if `in_layer_order`, else sorted by the numbers in the
            names.
        metadata: The metadata of a safetensors file.
        in_layer_order: True if the file tells the order of the layers, each of which reads the one before.
        keras_layers: The recurrent layers that a Keras configuration in the file describes, lowest first.
    """

    tensors: dict[str, np.ndarray]
    metadata: Mapping[str, str] = field(default_factory=dict)
    in_layer_order: bool = False
    keras_layers: tuple[KerasLayer, ...] = ()


def import_reader(module: str, path: Path, kind: str) -> ModuleType:
    """Import a module of an optional package that reads or writes files of a kind.

    Raises:
        ConfigError: The package is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"{path}: {kind} needs the package {package}, which is not installed: {_INSTALL_COMMANDS[package]}"
        ) from error


def check_size(path: Path, name: str, claimed: int, stored: int, *, is_compressed: bool) -> None:
    """Check, before memory is taken, that data do not claim more bytes than the file can hold for them.

    Args:
        path: The file, named in the error.
        name: The part of the file, named in the error.
        claimed: The number of bytes that the data take in memory, as the file says.
        stored: The number of bytes that the file holds for them.
        is_compressed: True if the data are compressed.

    Raises:
        DataError: The data claim too many bytes.
    """
    limit = stored
    if is_compressed:
        limit = max(_MAX_EXPANSION * stored, _ALWAYS_ACCEPTED_BYTES)
    if claimed > limit:
        raise DataError(
            f"{path}: {name}: at most {limit:,} bytes expected, as {stored:,} are stored; found {claimed:,}"
        )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if there is none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
