"""The check, before a sweep begins, that some width meets the budget of every trial."""

import json
from collections.abc import Mapping

from nlstm_jax import cells, models, tasks
from nlstm_jax.types import Config

_DATA_SECTIONS = ("task", "data", "model", "train", "eval")
"""The sections of a configuration that the dimensions of the data may depend on."""
_model_dims: dict[str, Mapping[str, int]] = {}
"""The dimensions of the data of the trials so far, by these sections as JSON."""
_met: set[str] = set()
"""The budgets that some width meets: task, cell, model and dimensions, as JSON."""


def check_budget(config: Config) -> None:
    """Check that some width meets the budget of a trial, if it has one.

    The width depends on the data, for instance on the size of the vocabulary. So the data are loaded, once for all
    trials that have them in common.

    Raises:
        ConfigError: No width meets the budget.
        DataError: The data cannot be read.
    """
    has_budget = config["model"].get("parameters") or any(config["cell"].get(name) for name in cells.BUDGETS)
    if not has_budget:
        return
    data_key = json.dumps([config[name] for name in _DATA_SECTIONS], sort_keys=True)
    if data_key not in _model_dims:
        _model_dims[data_key] = tasks.build(config).model_dims
    dims = _model_dims[data_key]
    key = json.dumps([config["task"], config["cell"], config["model"], dict(dims)], sort_keys=True)
    if key not in _met:
        models.check_budget(config, dims)
        _met.add(key)
