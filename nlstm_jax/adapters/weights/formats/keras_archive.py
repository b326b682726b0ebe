"""The `.keras` archive: a zip file of a model's configuration and its weights in HDF5."""

import json
import zipfile
from pathlib import Path

import numpy as np

from nlstm_jax.adapters.weights.formats import keras_config
from nlstm_jax.adapters.weights.formats.archive import read_member
from nlstm_jax.adapters.weights.formats.hdf5 import read_hdf5
from nlstm_jax.adapters.weights.formats.stored import StoredWeights
from nlstm_jax.errors import DataError

WEIGHTS = "model.weights.h5"
_CONTAINERS = ("layers/", "_layer_checkpoint_dependencies/")
"""The groups that hold the layers, in Keras 3 and in Keras 2.13 and later."""


def read_keras_archive(path: Path, archive: zipfile.ZipFile) -> StoredWeights:
    """Read a `.keras` file. Its tensors are named by the layers' own names, in the order of the model.

    Raises:
        ConfigError: h5py is not installed.
        DataError: A member is damaged, or it is not that of a Keras model.
    """
    try:
        config = json.loads(read_member(path, archive, "config.json"))
        version = str(json.loads(read_member(path, archive, "metadata.json")).get("keras_version", ""))
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: a Keras archive expected: {error}") from error
    stored = read_hdf5(path, read_member(path, archive, WEIGHTS))

    model = keras_config.read_model_config(path, config, version)
    tensors: dict[str, np.ndarray] = {}
    unnamed = dict(stored.tensors)
    for layer in model:
        scopes = tuple(f"{container}{layer.saved_name}/" for container in _CONTAINERS)
        for stored_name in stored.tensors:
            if stored_name.startswith(scopes):
                own_name = stored_name.split("/", 2)[2]
                tensors[f"{layer.name}/{own_name}"] = unnamed.pop(stored_name)
    # The layers of a subclassed model are attributes, which its configuration does not list.
    is_complete = not any(name.startswith(_CONTAINERS) for name in unnamed)
    return StoredWeights(
        tensors | unnamed,
        in_layer_order=bool(tensors) and is_complete and keras_config.is_sequential(config),
        keras_layers=keras_config.recurrent_layers(path, model) if is_complete else (),
    )
