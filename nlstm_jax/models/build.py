"""Build the model and the cell that a configuration describes."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax

from nlstm_jax import cells
from nlstm_jax.adapters import weights
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models.classifier import Classifier
from nlstm_jax.models.forecaster import Forecaster
from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.models.loops import check_loop, recurrent_layers
from nlstm_jax.models.seq2seq import Seq2Seq, decoder_width
from nlstm_jax.models.sizing import Widths, cache_key, count_model, fit_model, resize
from nlstm_jax.settings.tasks import find_task
from nlstm_jax.types import Config, PRNGKeyArray

_ModelDims: TypeAlias = Mapping[str, int]
"""The dimensions that a task determines, see `build`."""

_fitted_widths: dict[str, tuple[Widths, int]] = {}
"""The results of `fit_budget` in this process, as several runs can have the same budget."""

_latest_widths: dict[tuple[str, str, int, int], Widths] = {}
"""The latest of these widths by task, cell, number of layers and budget."""


def build(config: Config, model_dims: _ModelDims) -> Any:
    """Build a model, with initial values drawn from `config.seeds.init`.

    Args:
        config: The configuration. The class of its task builds the model.
        model_dims: The dimensions that the task's data determine, from `task.model_dims`: `vocabulary` for a model
            that reads symbols, `classes` for a classifier, `channels` and `outputs` for a forecaster.

    Returns:
        The model, a Flax NNX module.

    Raises:
        ConfigError: An option of the cell or the model is invalid, no width matches the budget, or the mode of
            `unroll` cannot run the cell.
    """
    if config["model"].get("parameters"):
        widths, _ = fit_budget(config, model_dims)
        config = resize(config, widths)

    try:
        model = find_task(config["task"]).build_model(config, model_dims)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error

    for layer in recurrent_layers(model):
        if layer.mode != "auto":
            check_loop(layer)
    return model


def fit_budget(config: Config, model_dims: _ModelDims) -> tuple[Widths, int]:
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
        task = find_task(config["task"])
        cell = config["cell"]
        # The trials of a sweep are alike. Most have the same widths, as they differ in rates alone.
        kind = (config["task"], cell["name"], cell["layers"], config["model"]["parameters"])
        start = _latest_widths.get(kind)
        try:
            fitted = fit_model(
                lambda config: task.build_model(config, model_dims), config, projects=has_projection, start=start
            )
        except (ValueError, TypeError) as error:
            raise ConfigError(f"config.model.parameters: {error}") from error
        _fitted_widths[key] = fitted
        _latest_widths[kind] = fitted[0]
    return _fitted_widths[key]


def check_budget(config: Config, model_dims: _ModelDims) -> None:
    """Check that some width meets the budget of a configuration, without drawing initial values.

    Raises:
        ConfigError: No width meets the budget. The message is that of `build`.
    """
    if config["model"].get("parameters"):
        fit_budget(config, model_dims)
        return
    task = find_task(config["task"])
    try:
        count_model(lambda: task.build_model(config, model_dims))
    except ValueError as error:
        raise ConfigError(f"config.cell or config.model: {error}") from error


def build_language_model(config: Config, vocabulary: int, outputs: int | None = None) -> LanguageModel:
    """Build a `LanguageModel` from the settings `settings.models.LANGUAGE_MODEL`.

    Args:
        config: The configuration, whose widths are known.
        vocabulary: The number of symbols V.
        outputs: The number of symbols or classes that are predicted. None means V.
    """
    options = config["model"]
    return LanguageModel(
        vocabulary,
        options["embedding"],
        cells.build(config["cell"], options["embedding"], options["dropout_between"]),
        outputs=outputs,
        projection=options["projection"] or None,
        tied=options["tied"],
        dropout_input=options["dropout_input"],
        dropout_output=options["dropout_output"],
        init_scheme=options["init_scheme"],
        dtype=None if options["dtype"] == "float32" else options["dtype"],
        over_time=_loop_options(config),
        key=_init_key(config),
    )


def build_forecaster(config: Config, channels: int, outputs: int) -> Forecaster:
    """Build a `Forecaster` from the settings `model.dropout_between` and `model.dropout_output`.

    Args:
        config: The configuration, whose widths are known.
        channels: The number of input channels.
        outputs: The number of outputs of the head.
    """
    options = config["model"]
    return Forecaster(
        channels,
        cells.build(config["cell"], channels, options["dropout_between"]),
        outputs=outputs,
        dropout_output=options["dropout_output"],
        over_time=_loop_options(config),
        key=_init_key(config),
    )


def build_seq2seq(config: Config, vocabulary: int) -> Seq2Seq:
    """Build a `Seq2Seq` from the settings `settings.models.SYMBOLS` and `model.feed`.

    Args:
        config: The configuration, whose widths are known.
        vocabulary: The number of symbols V.
    """
    options = config["model"]
    width = options["embedding"] or vocabulary
    decoder_in_features = partial(decoder_width, width=width, feed=options["feed"])
    return Seq2Seq(
        vocabulary,
        cells.build(config["cell"], width, options["dropout_between"], decoder_in_features),
        embedding=options["embedding"] or None,
        feed=options["feed"],
        over_time=_loop_options(config),
        key=_init_key(config),
    )


def build_classifier(config: Config, vocabulary: int, classes: int) -> Classifier:
    """Build a `Classifier` from the settings `settings.models.SYMBOLS` and `model.dropout_output`.

    Args:
        config: The configuration, whose widths are known.
        vocabulary: The number of symbols V.
        classes: The number of classes K.
    """
    options = config["model"]
    width = options["embedding"] or vocabulary
    return Classifier(
        vocabulary,
        classes,
        cells.build(config["cell"], width, options["dropout_between"]),
        embedding=options["embedding"] or None,
        dropout_output=options["dropout_output"],
        over_time=_loop_options(config),
        key=_init_key(config),
    )


def _loop_options(config: Config) -> dict[str, Any]:
    """Return the options of `unroll` that the configuration sets."""
    return {name: value or None for name, value in config["unroll"].items()}


def _init_key(config: Config) -> PRNGKeyArray:
    """Return the random key of the initial values."""
    return jax.random.key(config["seeds"]["init"])


def load_cell(model: Any, path: Path) -> None:
    """Replace the initial parameters of the model's cell by those of a layer saved with `adapters.weights.save`.

    Raises:
        ConfigError: The model has two cells.
        DataError: There is no such file, or its layer computes something else than the model's cell without noise.
    """
    recurrent = recurrent_layers(model)
    if len(recurrent) != 1:
        raise ConfigError(f"config.cell.weights: a model with one cell expected, found {len(recurrent)}")
    (cell,) = recurrent

    layer, params = weights.load(path)
    saved_layer = _comparable_spec(layer)
    model_layer = _comparable_spec(cell.cell)
    if saved_layer != model_layer:
        expected = cells.spec_repr(model_layer)
        raise DataError(f"config.cell.weights: {path}: {expected} expected, found {cells.spec_repr(saved_layer)}")

    try:
        cell.load(params)
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
