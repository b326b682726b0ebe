"""The choice of the reader by the content of a file or folder."""

import zipfile
from pathlib import Path

from nlstm_jax.adapters.weights.formats import flax_file, tensorflow_checkpoint
from nlstm_jax.adapters.weights.formats.archive import check_members
from nlstm_jax.adapters.weights.formats.hdf5 import read_hdf5
from nlstm_jax.adapters.weights.formats.keras_archive import WEIGHTS, read_keras_archive
from nlstm_jax.adapters.weights.formats.kinds import find_kind
from nlstm_jax.adapters.weights.formats.safetensors_file import read_safetensors
from nlstm_jax.adapters.weights.formats.stored import StoredWeights, first_line
from nlstm_jax.adapters.weights.formats.torch_file import read_torch_file
from nlstm_jax.errors import DataError

READABLE = (
    "safetensors, .keras, .h5, a PyTorch state dict, a TensorFlow checkpoint, msgpack of Flax or a folder of orbax"
)
"""The kinds of files that are read, for error messages."""


def read_weights_file(path: str | Path) -> StoredWeights:
    """Read the arrays of a file or folder of weights, by its content; its name plays no part.

    Args:
        path: A safetensors file, a `.keras` archive, an HDF5 file of Keras, a PyTorch file of a state dict, a msgpack
            file of Flax, a folder of orbax, or a TensorFlow checkpoint: one of its files, their common prefix, or a
            folder with one checkpoint.

    Raises:
        ConfigError: The package that reads this kind of file is not installed.
        DataError: There is no such file, it is damaged, it claims more bytes than it holds, or it is of another kind.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    prefix = tensorflow_checkpoint.find_checkpoint(path)
    if prefix is not None:
        return tensorflow_checkpoint.read_checkpoint(path, prefix)
    if not path.is_file():
        raise DataError(f"{path}: no such file")

    kind = find_kind(path)
    if kind == "safetensors":
        return read_safetensors(path)
    if kind == "hdf5":
        return read_hdf5(path)
    if kind == "zip":
        return _read_zip(path)
    if kind == "torch":
        return read_torch_file(path)
    if kind == "msgpack":
        return flax_file.read_msgpack(path)
    raise _unread(path, kind)


def _read_folder(path: Path) -> StoredWeights:
    """Read a folder that orbax or TensorFlow wrote."""
    if flax_file.is_orbax_folder(path):
        return flax_file.read_orbax(path)
    prefix = tensorflow_checkpoint.find_checkpoint(path)
    if prefix is not None:
        return tensorflow_checkpoint.read_checkpoint(path, prefix)
    if (path / "saved_model.pb").exists():
        raise _unread(path, "a TensorFlow SavedModel, which does not name weights; model.save_weights(…) writes them")
    raise _unread(path, "a folder of another kind")


def _read_zip(path: Path) -> StoredWeights:
    """Read a Keras or PyTorch archive."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: a whole zip archive expected: {first_line(error)}") from error
    with archive:
        names = archive.namelist()
        check_members(path, archive)
        if WEIGHTS in names:
            return read_keras_archive(path, archive)
    if any(name.endswith("/constants.pkl") for name in names):
        raise _unread(path, "a TorchScript archive; torch.save(module.state_dict(), …) writes a state dict")
    if any(name.endswith("/data.pkl") for name in names):
        return read_torch_file(path)
    if names and all(name.endswith(".npy") for name in names):
        raise _unread(path, "an archive of NumPy arrays (.npz); safetensors.numpy.save_file writes a safetensors file")
    raise _unread(path, "a zip archive of another kind")


def _unread(path: Path, found: str) -> DataError:
    """Return the error for a file of a kind that is not read."""
    return DataError(f"{path}: {READABLE} expected, found {found}")
