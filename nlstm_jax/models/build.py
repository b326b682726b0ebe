"""The model that a configuration asks for, around the cell that it asks for."""

from collections.abc import Mapping
from typing import Any

import jax

from nlstm_jax import cells
from nlstm_jax.errors import ConfigError
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel


def build(config: Mapping[str, Any], sizes: Mapping[str, int]) -> LanguageModel | Forecaster:
    """A model with initial values drawn from `config.seeds.init`.

    Args:
        config: the sections `cell`, `model` and `seeds` are read.
        sizes: what the task asks of a model: `vocabulary` of a language model, `channels` and `outputs` of a
            forecaster.

    Raises:
        ConfigError: a cell or model option that does not serve.
    """
    options, key = config["model"], jax.random.key(config["seeds"]["init"])
    try:
        if "vocabulary" in sizes:
            return LanguageModel(
                sizes["vocabulary"],
                options["embedding"],
                cells.build(config["cell"], options["embedding"], options["dropout_between"]),
                projection=options["projection"] or None,
                tied=options["tied"],
                dropout_input=options["dropout_input"],
                dropout_output=options["dropout_output"],
                key=key,
            )
        return Forecaster(
            sizes["channels"],
            cells.build(config["cell"], sizes["channels"], options["dropout_between"]),
            outputs=sizes["outputs"],
            dropout_output=options["dropout_output"],
            key=key,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error
