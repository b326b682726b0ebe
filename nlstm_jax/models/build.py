"""The model that a configuration asks for, around the cell that it asks for."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax import cells
from nlstm_jax.adapters import weights
from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.seq2seq import Seq2Seq, decoder_width
from nlstm_jax.models.sizing import Widths, cache_key, fit_model, resize

Model: TypeAlias = LanguageModel | Forecaster | Seq2Seq | Classifier
_Options: TypeAlias = Mapping[str, Any]
_Sizes: TypeAlias = Mapping[str, int]


def build(config: Mapping[str, Any], sizes: Mapping[str, int]) -> Model:
    """A model with initial values drawn from `config.seeds.init`.

    Args:
        config: `task` decides which model; the sections `cell`, `model`, `unroll` and `seeds` are read.
        sizes: what the task asks of a model: `vocabulary` of one that reads symbols, `classes` of a classifier,
            `channels` and `outputs` of a forecaster.

    Raises:
        ConfigError: a cell or model option that does not serve, a budget that no width serves, or a loop over time
            that does not serve the cell.
    """
    if config["model"].get("parameters"):
        config = resize(config, fit_budget(config, sizes)[0])
    try:
        model = _make(config, sizes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error
    for recurrent in (part for part in vars(model).values() if isinstance(part, Recurrent)):
        if recurrent.mode != "auto":
            try:
                jax.eval_shape(recurrent, jax.ShapeDtypeStruct((1, 1, recurrent.in_features), jnp.float32))
            except ValueError as error:
                raise ConfigError(f"config.unroll: {error}") from error
    return model


def fit_budget(config: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Widths, int]:
    """The widths that `config.model.parameters` decides, and the number of parameters that the model then has.

    Raises:
        ConfigError: a budget of the cell beside it, one that no width serves, or options that do not serve.
    """
    both = [f"config.cell.{name}" for name in cells.BUDGETS if config["cell"].get(name)]
    if both:
        raise ConfigError(f"config.model.parameters: no {both[0]} beside it expected, found both")
    key = cache_key(config, sizes)
    if key not in _FITTED:
        projects = bool(config["model"].get("projection")) and not config["model"].get("tied")
        try:
            _FITTED[key] = fit_model(lambda config: _make(config, sizes), config, projects=projects)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"config.model.parameters: {error}") from error
    return _FITTED[key]


_FITTED: dict[str, tuple[Widths, int]] = {}
"""Widths that have been found in this process: several runs ask for the same."""


def _make(config: Mapping[str, Any], sizes: Mapping[str, int]) -> Model:
    """The model of a configuration, at widths that are known."""
    key = jax.random.key(config["seeds"]["init"])
    over_time = {name: value or None for name, value in config["unroll"].items()}
    maker = _MAKERS[config["task"]]
    return maker(config["cell"], config["model"], sizes, {"over_time": over_time, "key": key})


def _language_model(cell: _Options, options: _Options, sizes: _Sizes, rest: dict[str, Any]) -> LanguageModel:
    return LanguageModel(
        sizes["vocabulary"],
        options["embedding"],
        cells.build(cell, options["embedding"], options["dropout_between"]),
        projection=options["projection"] or None,
        tied=options["tied"],
        dropout_input=options["dropout_input"],
        dropout_output=options["dropout_output"],
        init_scheme=options["init_scheme"],
        dtype=None if options["dtype"] == "float32" else options["dtype"],
        **rest,
    )


def _forecaster(cell: _Options, options: _Options, sizes: _Sizes, rest: dict[str, Any]) -> Forecaster:
    built = cells.build(cell, sizes["channels"], options["dropout_between"])
    return Forecaster(
        sizes["channels"], built, outputs=sizes["outputs"], dropout_output=options["dropout_output"], **rest
    )


def _seq2seq(cell: _Options, options: _Options, sizes: _Sizes, rest: dict[str, Any]) -> Seq2Seq:
    width, feed = options["embedding"] or sizes["vocabulary"], options["feed"]
    decoder_in_features = partial(decoder_width, width=width, feed=feed)
    built = cells.build(cell, width, options["dropout_between"], decoder_in_features)
    return Seq2Seq(sizes["vocabulary"], built, embedding=options["embedding"] or None, feed=feed, **rest)


def _classifier(cell: _Options, options: _Options, sizes: _Sizes, rest: dict[str, Any]) -> Classifier:
    built = cells.build(cell, options["embedding"] or sizes["vocabulary"], options["dropout_between"])
    return Classifier(
        sizes["vocabulary"],
        sizes["classes"],
        built,
        embedding=options["embedding"] or None,
        dropout_output=options["dropout_output"],
        **rest,
    )


_MAKERS: dict[str, Callable[..., Model]] = {
    "poems": _language_model,
    "text": _language_model,
    "sales": _forecaster,
    "stocks": _forecaster,
    "echo": _seq2seq,
    "classify": _classifier,
}


def load_cell(model: Model, path: Path) -> None:
    """Put the parameters of a layer from `adapters.weights.save` in place of those that the model's cell drew.

    Raises:
        ConfigError: a model with two cells.
        DataError: no such file, or the layer in it computes something else than the model's cell without its noise.
    """
    if isinstance(model, Seq2Seq):
        raise ConfigError("config.cell.weights: a model with one cell expected, found an encoder and a decoder")
    layer, params = weights.load(path)
    recurrent = model.cell
    if _plain(layer) != _plain(recurrent.cell):
        expected, found = (cells.spec_repr(_plain(each)) for each in (recurrent.cell, layer))
        raise DataError(f"config.cell.weights: {path}: {expected} expected, found {found}")
    try:
        recurrent.load(params)
    except ValueError as error:
        raise DataError(f"config.cell.weights: {path}: {error}") from None


def _plain(layer: Any) -> Any:
    """A layer without its noise, and without what only initial values or the precision of products depend on."""
    if isinstance(layer, tuple):
        return tuple(map(_plain, layer))
    if isinstance(layer, cells.VariationalDropout | cells.Zoneout):
        return _plain(layer.cell)
    if not dataclasses.is_dataclass(layer) or isinstance(layer, type):
        return layer
    values = {field.name: _plain(getattr(layer, field.name)) for field in dataclasses.fields(layer)}
    indifferent = {"init_scheme": "default", "forget_bias": 1.0, "dtype": None, "dropout": 0.0}
    return dataclasses.replace(layer, **values | {name: indifferent[name] for name in indifferent if name in values})
