"""The model that a configuration asks for, around the cell that it asks for."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax import cells
from nlstm_jax.adapters import weights
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel


def build(config: Mapping[str, Any], sizes: Mapping[str, int]) -> LanguageModel | Forecaster:
    """A model with initial values drawn from `config.seeds.init`.

    Args:
        config: the sections `cell`, `model`, `unroll` and `seeds` are read.
        sizes: what the task asks of a model: `vocabulary` of a language model, `channels` and `outputs` of a
            forecaster.

    Raises:
        ConfigError: a cell or model option that does not serve, or a loop over time that does not for the cell.
    """
    model = _drawn(config, sizes)
    recurrent = model.cell
    if recurrent.mode != "auto":
        width = sizes.get("channels", config["model"].get("embedding"))
        try:
            jax.eval_shape(recurrent, jax.ShapeDtypeStruct((1, 1, width), jnp.float32))
        except ValueError as error:
            raise ConfigError(f"config.unroll: {error}") from error
    return model


def _drawn(config: Mapping[str, Any], sizes: Mapping[str, int]) -> LanguageModel | Forecaster:
    options, key = config["model"], jax.random.key(config["seeds"]["init"])
    over_time = {name: value or None for name, value in config["unroll"].items()}
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
                init_scheme=options["init_scheme"],
                dtype=None if options["dtype"] == "float32" else options["dtype"],
                over_time=over_time,
                key=key,
            )
        return Forecaster(
            sizes["channels"],
            cells.build(config["cell"], sizes["channels"], options["dropout_between"]),
            outputs=sizes["outputs"],
            dropout_output=options["dropout_output"],
            over_time=over_time,
            key=key,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error


def load_cell(model: LanguageModel | Forecaster, path: Path) -> None:
    """Put the parameters of a layer from `adapters.weights.save` in place of those that the model's cell drew.

    Raises:
        DataError: no such file, or the layer in it computes something else than the model's cell without its noise.
    """
    layer, params = weights.load(path)
    recurrent = model.cell
    if _plain(layer) != _plain(recurrent.cell):
        expected, found = (cells.spelled(_plain(each)) for each in (recurrent.cell, layer))
        raise DataError(f"config.cell.weights: {path}: {expected} expected, found {found}")
    try:
        recurrent.load(params)
    except ValueError as error:
        raise DataError(f"config.cell.weights: {path}: {error}") from None


def _plain(layer: Any) -> Any:
    """A layer without its noise, and without what only initial values or the precision of products depend on."""
    if isinstance(layer, tuple):
        return tuple(map(_plain, layer))
    if isinstance(layer, cells.SequenceDropout | cells.Zoneout):
        return _plain(layer.cell)
    if not dataclasses.is_dataclass(layer) or isinstance(layer, type):
        return layer
    values = {field.name: _plain(getattr(layer, field.name)) for field in dataclasses.fields(layer)}
    indifferent = {"init_scheme": "default", "forget_bias": 1.0, "dtype": None, "dropout": 0.0}
    return dataclasses.replace(layer, **values | {name: indifferent[name] for name in indifferent if name in values})
