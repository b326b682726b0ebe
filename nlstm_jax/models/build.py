"""Build the model and the cell that a configuration describes."""

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
"""A model of any task."""

_Options: TypeAlias = Mapping[str, Any]
"""A section of the configuration."""

_ModelDims: TypeAlias = Mapping[str, int]
"""The dimensions that a task determines, see `build`."""

_fitted_widths: dict[str, tuple[Widths, int]] = {}
"""The results of `fit_budget` in this process, as several runs can have the same budget."""


def build(config: Mapping[str, Any], model_dims: Mapping[str, int]) -> Model:
    """Build a model, with initial values drawn from `config.seeds.init`.

    Args:
        config: The configuration. `task` selects the kind of model. The sections `cell`, `model`, `unroll` and
            `seeds` are read.
        model_dims: The dimensions that the task determines: `vocabulary` for a model that reads symbols, `classes`
            for a classifier, `channels` and `outputs` for a forecaster.

    Raises:
        ConfigError: An option of the cell or the model is invalid, no width matches the budget, or the mode of
            `unroll` cannot run the cell.
    """
    if config["model"].get("parameters"):
        widths, _ = fit_budget(config, model_dims)
        config = resize(config, widths)

    try:
        model = _build_model(config, model_dims)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error

    for module in vars(model).values():
        if isinstance(module, Recurrent) and module.mode != "auto":
            _check_unroll_mode(module)
    return model


def _check_unroll_mode(recurrent: Recurrent) -> None:
    """Raise a ConfigError unless the mode of `unroll` can run the cell of the layer."""
    try:
        jax.eval_shape(recurrent, jax.ShapeDtypeStruct((1, 1, recurrent.in_features), jnp.float32))
    except ValueError as error:
        raise ConfigError(f"config.unroll: {error}") from error


def fit_budget(config: Mapping[str, Any], model_dims: Mapping[str, int]) -> tuple[Widths, int]:
    """Find the widths that match the budget `config.model.parameters`.

    Returns:
        The widths, and the number of parameters of the model with these widths.

    Raises:
        ConfigError: The cell has a budget too, no width matches the budget, or an option is invalid.
    """
    cell_budgets = [f"config.cell.{name}" for name in cells.BUDGETS if config["cell"].get(name)]
    if cell_budgets:
        raise ConfigError(f"config.model.parameters: no {cell_budgets[0]} beside it expected, found both")

    key = cache_key(config, model_dims)
    if key not in _fitted_widths:
        has_projection = bool(config["model"].get("projection")) and not config["model"].get("tied")
        try:
            fitted = fit_model(lambda config: _build_model(config, model_dims), config, projects=has_projection)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"config.model.parameters: {error}") from error
        _fitted_widths[key] = fitted
    return _fitted_widths[key]


def _build_model(config: Mapping[str, Any], model_dims: Mapping[str, int]) -> Model:
    """Build the model of a configuration whose widths are known."""
    key = jax.random.key(config["seeds"]["init"])
    over_time = {name: value or None for name, value in config["unroll"].items()}
    build_for_task = _BUILDERS[config["task"]]
    return build_for_task(config["cell"], config["model"], model_dims, {"over_time": over_time, "key": key})


def _language_model(
    cell: _Options, options: _Options, model_dims: _ModelDims, shared: dict[str, Any]
) -> LanguageModel:
    """Build the model of the tasks `poems` and `text`."""
    built = cells.build(cell, options["embedding"], options["dropout_between"])
    return LanguageModel(
        model_dims["vocabulary"],
        options["embedding"],
        built,
        projection=options["projection"] or None,
        tied=options["tied"],
        dropout_input=options["dropout_input"],
        dropout_output=options["dropout_output"],
        init_scheme=options["init_scheme"],
        dtype=None if options["dtype"] == "float32" else options["dtype"],
        **shared,
    )


def _forecaster(cell: _Options, options: _Options, model_dims: _ModelDims, shared: dict[str, Any]) -> Forecaster:
    """Build the model of the tasks `sales` and `stocks`."""
    built = cells.build(cell, model_dims["channels"], options["dropout_between"])
    return Forecaster(
        model_dims["channels"],
        built,
        outputs=model_dims["outputs"],
        dropout_output=options["dropout_output"],
        **shared,
    )


def _seq2seq(cell: _Options, options: _Options, model_dims: _ModelDims, shared: dict[str, Any]) -> Seq2Seq:
    """Build the model of the task `echo`."""
    width = options["embedding"] or model_dims["vocabulary"]
    feed = options["feed"]
    decoder_in_features = partial(decoder_width, width=width, feed=feed)
    built = cells.build(cell, width, options["dropout_between"], decoder_in_features)
    return Seq2Seq(model_dims["vocabulary"], built, embedding=options["embedding"] or None, feed=feed, **shared)


def _classifier(cell: _Options, options: _Options, model_dims: _ModelDims, shared: dict[str, Any]) -> Classifier:
    """Build the model of the task `classify`."""
    width = options["embedding"] or model_dims["vocabulary"]
    built = cells.build(cell, width, options["dropout_between"])
    return Classifier(
        model_dims["vocabulary"],
        model_dims["classes"],
        built,
        embedding=options["embedding"] or None,
        dropout_output=options["dropout_output"],
        **shared,
    )


_BUILDERS: dict[str, Callable[..., Model]] = {
    "poems": _language_model,
    "text": _language_model,
    "sales": _forecaster,
    "stocks": _forecaster,
    "echo": _seq2seq,
    "classify": _classifier,
}
"""The function that builds the model of each task."""


def load_cell(model: Model, path: Path) -> None:
    """Replace the initial parameters of the model's cell by those of a layer saved with `adapters.weights.save`.

    Raises:
        ConfigError: The model has two cells.
        DataError: There is no such file, or its layer computes something else than the model's cell without noise.
    """
    if isinstance(model, Seq2Seq):
        raise ConfigError("config.cell.weights: a model with one cell expected, found an encoder and a decoder")

    layer, params = weights.load(path)
    saved_layer = _comparable_spec(layer)
    model_layer = _comparable_spec(model.cell.cell)
    if saved_layer != model_layer:
        expected = cells.spec_repr(model_layer)
        raise DataError(f"config.cell.weights: {path}: {expected} expected, found {cells.spec_repr(saved_layer)}")

    try:
        model.cell.load(params)
    except ValueError as error:
        raise DataError(f"config.cell.weights: {path}: {error}") from None


def _comparable_spec(layer: Any) -> Any:
    """Reduce a layer to the fields that determine what it computes.

    Noise is removed. The fields that only affect initial values or the precision of products get a fixed value.
    """
    if isinstance(layer, tuple):
        return tuple(map(_comparable_spec, layer))
    if isinstance(layer, cells.VariationalDropout | cells.Zoneout):
        return _comparable_spec(layer.cell)
    if not dataclasses.is_dataclass(layer) or isinstance(layer, type):
        return layer

    values = {field.name: _comparable_spec(getattr(layer, field.name)) for field in dataclasses.fields(layer)}
    for name, value in {"init_scheme": "default", "forget_bias": 1.0, "dtype": None, "dropout": 0.0}.items():
        if name in values:
            values[name] = value
    return dataclasses.replace(layer, **values)
