"""The configuration of a Keras model in a `.keras` or `.h5` file: its layers in order, and their options."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlstm_jax.adapters.weights.formats.stored import KerasLayer
from nlstm_jax.errors import DataError

_CELLS = {"LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell"}
_NEUTRAL = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "InputLayer",
    "Masking",
    "SpatialDropout1D",
}
"""The layers between two recurrent ones that change no value in an evaluation without a mask."""
_WRAPPERS = {"Bidirectional": "layer", "RNN": "cell"}
"""For each layer that wraps a cell, the key of its configuration under which the cell is."""


@dataclass(frozen=True)
class ModelLayer:
    """A layer of a model's configuration.

    Attributes:
        name: The layer's own name.
        saved_name: The name in a `.weights.h5` file, made from the class: the second LSTM is `lstm_1`.
        class_name: The name of its class.
        config: Its arguments.
        keras_version: The version of Keras that wrote the file, e.g. "2.15.0"; empty if the file does not tell.
    """

    name: str
    saved_name: str
    class_name: str
    config: Mapping[str, Any]
    keras_version: str


def is_sequential(model: Mapping[str, Any]) -> bool:
    """Return True if the configuration is that of a `Sequential`, whose layers read each other's outputs in order."""
    return model.get("class_name") == "Sequential"


def read_model_config(path: Path, model: Any, keras_version: str) -> list[ModelLayer]:
    """Return the layers of a model's configuration, in the order of `model.layers`.

    Raises:
        DataError: The configuration is not that of a Keras model.
    """
    try:
        config = model["config"]
        # Before version 2.2.3 the configuration of a Sequential was the list of its layers.
        entries = config if isinstance(config, Sequence) else config.get("layers", [model])
        counts: Counter[str] = Counter()
        layers = []
        for entry in entries:
            base_name = _to_snake_case(entry["class_name"])
            suffix = f"_{counts[base_name]}" if counts[base_name] else ""
            counts[base_name] += 1
            name = entry["config"].get("name", base_name)
            layers.append(ModelLayer(name, base_name + suffix, entry["class_name"], entry["config"], keras_version))
        return layers
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: the configuration of a Keras model expected: {type(error).__name__} {error}"
        ) from error


def recurrent_layers(path: Path, layers: Sequence[ModelLayer]) -> tuple[KerasLayer, ...]:
    """Return the recurrent layers among those of a model, with the options that their configurations tell.

    Raises:
        DataError: The configuration of a layer lacks an argument.
    """
    try:
        return _recurrent_layers(layers)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: the configuration of a Keras model expected: {type(error).__name__} {error}"
        ) from error


def _recurrent_layers(layers: Sequence[ModelLayer]) -> tuple[KerasLayer, ...]:
    """See `recurrent_layers`."""
    described: list[KerasLayer] = []
    between: list[str] = []
    for layer in layers:
        config = layer.config
        options: dict[str, str | bool] = {}
        class_name = layer.class_name
        if class_name in _WRAPPERS:
            inner = config[_WRAPPERS[class_name]]
            if class_name == "Bidirectional" and config.get("merge_mode"):
                options["merge_mode"] = config["merge_mode"]
            class_name = inner["class_name"]
            config = inner["config"]
        if class_name not in _CELLS:
            if layer.class_name not in _NEUTRAL:
                between.append(layer.name)
            continue
        options["activation"] = _activation_name(config["activation"], layer.keras_version)
        if "recurrent_activation" in config:
            options["recurrent_activation"] = _activation_name(config["recurrent_activation"], layer.keras_version)
        if class_name.startswith("GRU"):
            # Keras 2.1 and earlier have no reset_after, and apply the reset before the product.
            options["reset_after"] = bool(config.get("reset_after", False))
        goes_backwards = layer.class_name != "Bidirectional" and bool(config.get("go_backwards", False))
        described.append(KerasLayer(layer.name, options, goes_backwards, tuple(between) if described else ()))
        between = []
    return tuple(described)


def _activation_name(activation: Any, keras_version: str) -> str:
    """Return the name of an activation; `hard_sigmoid` is another function in Keras 1 and 2."""
    if isinstance(activation, Mapping):
        activation = activation["config"]
    if activation == "hard_sigmoid" and keras_version[:2] in ("1.", "2."):
        return "hard_sigmoid_keras2"
    return str(activation)


def _to_snake_case(class_name: str) -> str:
    """Return the name that Keras makes of a class: LSTM is `lstm`, SimpleRNN is `simple_rnn`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
