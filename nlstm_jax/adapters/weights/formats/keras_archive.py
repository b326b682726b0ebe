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
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: a Keras archive expected: {error}") from error
    stored = read_hdf5(path, read_member(path, archive, WEIGHTS))

    model = keras_config.read_model_config(path, config, version)
    tensors: dict[str, np.ndarray] = {}
    for layer in model:
        for container in _CONTAINERS:
            scope = f"{container}{layer.saved_name}/"
            for name, value in stored.tensors.items():
                if name.startswith(scope):
                    tensors[f"{layer.name}/{name.removeprefix(scope)}"] = value
    others = {
        name: value for name, value in stored.tensors.items() if not name.startswith((*_CONTAINERS, "optimizer/"))
    }
    if not tensors:
        # The layers of a subclassed model are attributes, which its configuration does not list.
        return stored
    return StoredWeights(
        tensors | others,
        in_layer_order=keras_config.is_sequential(config),
        keras_layers=keras_config.recurrent_layers(model),
    )
