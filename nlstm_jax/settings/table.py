"""What the tables serve for: configurations are made from them, and checked against them."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from nlstm_jax.cells.build import cell_options
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.configuration import flatten
from nlstm_jax.settings.common import COMMON
from nlstm_jax.settings.tasks import TASKS


def explain_invalid_value(key: str, value: Any) -> str | None:
    """Why a value is none for a setting, of whatever task has it first; None where it is one, or nothing is known."""
    setting = next((table[key] for table in (COMMON, *TASKS.values()) if key in table), None)
    wanted = setting.validation_error(value) if setting else None
    return wanted and f"config.{key}: {wanted} expected, found {value!r}"


def defaults(task: str, cell: str) -> ConfigDict:
    """All settings of a task with a cell, at their defaults.

    Raises:
        ConfigError: an unknown cell.
    """
    config = ConfigDict()
    for key, setting in (COMMON | TASKS[task]).items():
        section, _, field = key.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        (config[section] if section else config)[field] = setting.default
    config.task = task
    config.cell.name = cell
    try:
        options = cell_options(cell)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for name, (default, annotation) in options.items():
        config.cell[name] = _optional(annotation) if default is None else default
    return config


TRACED_HPARAMS = ("learning_rate", "clip_norm", "weight_decay", "epsilon")
"""The optimizer's settings that are given to a compiled program: one serves all their values."""


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of an older run, with what has become a setting since at its default."""
    if config.get("task") not in TASKS:
        return dict(config)
    whole = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for key, setting in (COMMON | TASKS[config["task"]]).items():
        section, _, name = key.rpartition(".")
        (whole.setdefault(section, {}) if section else whole).setdefault(name, setting.default)
    try:
        options = cell_options(whole["cell"]["name"])
    except ValueError:
        # A user's own cell that cannot be imported here.
        options = {}
    return whole | {"cell": {name: default for name, (default, _) in options.items()} | whole["cell"]}


def compile_key(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the compiled program of a run depends on, by dotted key: runs that agree in it can be trained together."""
    flat = {key: value for key, value in flatten(config).items() if key != "name" and not key.startswith("seeds.")}
    clipped = {"optimizer.clip_norm": bool(flat["optimizer.clip_norm"])}
    return {
        key: value for key, value in flat.items() if key not in {f"optimizer.{name}" for name in TRACED_HPARAMS}
    } | clipped


def check(config: Mapping[str, Any]) -> None:
    """Raise a ConfigError that names the first setting which is unknown, missing or out of its bounds."""
    task = config.get("task")
    if task not in TASKS:
        raise ConfigError(f"config.task: one of {', '.join(TASKS)} expected, found {task!r}")
    settings = COMMON | TASKS[task]
    flat = flatten(config)
    try:
        known = [*settings, *(f"cell.{name}" for name in cell_options(flat["cell.name"]))]
    except ValueError as error:
        raise ConfigError(f"config.{error}") from None
    for key in flat:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean config.{near[0]}?" if near else ""
            raise ConfigError(f"config.{key}: no such setting{hint}")
    for key, setting in settings.items():
        if key not in flat:
            raise ConfigError(f"config.{key}: missing")
        validation_error = setting.validation_error(flat[key])
        if validation_error:
            raise ConfigError(f"config.{key}: {validation_error} expected, found {flat[key]!r}")
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"config.{key}: a finite number expected, found {value!r}")


def _optional(annotation: Any) -> config_dict.FieldReference:
    """A field that is None until it is given a value of the annotated type (text where that is anything)."""
    accepted = [kind for kind in (annotation, *getattr(annotation, "__args__", ())) if kind in (bool, int, float, str)]
    return config_dict.placeholder(accepted[0] if accepted else str)
