"""Functions that make configurations from the tables of settings and check them against the tables."""

import math
from collections.abc import Mapping

from ml_collections import ConfigDict, config_dict

from nlstm_jax.cells.build import cell_options
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.configuration import flatten
from nlstm_jax.settings.common import COMMON
from nlstm_jax.settings.setting import Setting
from nlstm_jax.settings.suggestions import similar_setting
from nlstm_jax.settings.tasks import find_task
from nlstm_jax.types import Config, JsonObject

TRACED_HPARAMS = ("learning_rate", "clip_norm", "weight_decay", "epsilon")
"""The optimizer settings that are arguments of the compiled program. One program therefore serves all their values."""


def explain_invalid_value(key: str, value: object, config: Config) -> str | None:
    """Explain why `value` is invalid for the setting `key`.

    Args:
        key: The dotted name of the setting.
        value: The value to check.
        config: A configuration of the task.

    Returns:
        The message, or None if the value is valid or the setting is unknown.
    """
    setting = _task_table(config["task"]).get(key)
    if setting is None:
        return None
    error = setting.validation_error(value)
    return f"config.{key}: {error} expected, found {value!r}" if error else None


def explain_unknown_setting(key: str, config: Config) -> str:
    """Return the message about a setting that a configuration lacks, with the most similar one that it has.

    Args:
        key: The dotted name of the unknown setting.
        config: The configuration, whose task and cell can be found.
    """
    similar = similar_setting(key, _known_settings(config))
    if similar is None:
        return f"config.{key}: no such setting"
    return f"config.{key}: no such setting; did you mean config.{similar}?"


def defaults(task: str, cell: str) -> ConfigDict:
    """Return all settings of a task with a cell, at their defaults.

    Args:
        task: The name of a task of this package, or `package.module:Class`.
        cell: The name of a cell of this package, or `package.module:factory`.

    Raises:
        ConfigError: The task or the cell is unknown.
    """
    config = ConfigDict()
    for key, setting in _task_table(task).items():
        section_name, _, name = key.rpartition(".")
        section = config
        if section_name:
            if section_name not in config:
                config[section_name] = ConfigDict()
            section = config[section_name]
        section[name] = setting.default
    config.task = task
    config.cell.name = cell

    try:
        options = cell_options(cell)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for name, (default, annotation) in options.items():
        config.cell[name] = _optional_field(annotation) if default is None else default
    return config


def with_defaults(config: Config) -> JsonObject:
    """Return the configuration of an older run, with defaults for the settings that were introduced after it.

    The task's own settings are left as they are if the task cannot be imported here.
    """
    completed = dict(config)
    for key, value in config.items():
        if isinstance(value, Mapping):
            completed[key] = dict(value)

    try:
        settings = _task_table(config["task"])
    except ConfigError:
        # The task is a user's own and cannot be imported here.
        settings = COMMON
    for key, setting in settings.items():
        section_name, _, name = key.rpartition(".")
        section = completed.setdefault(section_name, {}) if section_name else completed
        # A run folder has lists where a configuration has tuples.
        default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
        section.setdefault(name, default)

    try:
        options = cell_options(completed["cell"]["name"])
    except ValueError:
        # The cell is a user's own and cannot be imported here.
        options = {}
    cell_defaults = {name: default for name, (default, _) in options.items()}
    completed["cell"] = cell_defaults | completed["cell"]
    return completed


def compile_key(config: Config) -> JsonObject:
    """Return the settings that the compiled program of a run depends on, by dotted key.

    Runs with equal settings of this kind can be trained together. Of `optimizer.clip_norm` only whether the gradient
    is clipped at all is kept.
    """
    flat = flatten(config)
    traced_keys = {f"optimizer.{name}" for name in TRACED_HPARAMS}
    settings = {}
    for key, value in flat.items():
        if key == "name" or key.startswith("seeds.") or key in traced_keys:
            continue
        settings[key] = value
    settings["optimizer.clip_norm"] = bool(flat["optimizer.clip_norm"])
    return settings


def check(config: Config) -> None:
    """Check a whole configuration against the tables.

    Raises:
        ConfigError: A setting is unknown, missing or out of its bounds. The message names the first one.
    """
    flat = flatten(config)
    known = _known_settings(config)
    for key in flat:
        if key not in known:
            raise ConfigError(explain_unknown_setting(key, config))

    for key, setting in _task_table(config["task"]).items():
        if key not in flat:
            raise ConfigError(f"config.{key}: missing")
        validation_error = setting.validation_error(flat[key])
        if validation_error:
            raise ConfigError(f"config.{key}: {validation_error} expected, found {flat[key]!r}")

    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"config.{key}: a finite number expected, found {value!r}")


def _task_table(task: str) -> dict[str, Setting]:
    """Return all settings of a task: the common ones and its own.

    Raises:
        ConfigError: The task cannot be found.
    """
    return COMMON | dict(find_task(task).settings)


def _known_settings(config: Config) -> list[str]:
    """Return the dotted names of all settings of a configuration's task and cell.

    Raises:
        ConfigError: The task or the cell cannot be found.
    """
    settings = _task_table(str(config.get("task")))
    try:
        options = cell_options(config["cell"]["name"])
    except ValueError as error:
        raise ConfigError(f"config.{error}") from None
    return [*settings, *(f"cell.{name}" for name in options)]


def _optional_field(annotation: object) -> config_dict.FieldReference:
    """Return a field that is None until a value is set. The value's type is the first plain type of the annotation.

    Args:
        annotation: The annotation of the option, such as `int | None`. If it has no plain type (bool, int, float or
            str), the value is text.
    """
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    accepted_types = [candidate for candidate in candidates if candidate in (bool, int, float, str)]
    return config_dict.placeholder(accepted_types[0] if accepted_types else str)
