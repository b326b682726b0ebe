"""The tasks by name, and the declarations that every task makes: its settings, its metrics and its question.

A task of the user is named `package.module:Class`. It is treated in the same way as the tasks of this package.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flax import nnx

from nlstm_jax.cells.build import import_attribute
from nlstm_jax.errors import ConfigError
from nlstm_jax.settings.setting import Setting
from nlstm_jax.types import Config, JsonObject

TASKS: dict[str, str] = {
    "poems": "nlstm_jax.tasks.poems:PoemTask",
    "sales": "nlstm_jax.tasks.sales:SalesTask",
    "text": "nlstm_jax.tasks.text:TextTask",
    "echo": "nlstm_jax.tasks.echo:EchoTask",
    "stocks": "nlstm_jax.tasks.stocks:StocksTask",
    "classify": "nlstm_jax.tasks.classify:ClassifyTask",
    "timescales": "nlstm_jax.tasks.timescales:TimescalesTask",
    "state_tracking": "nlstm_jax.tasks.state_tracking:StateTrackingTask",
}
"""The classes of the tasks of this package, by name."""


class UnitBySetting(NamedTuple):
    """A unit that depends on a setting.

    Attributes:
        setting: The dotted name of the setting.
        units: The unit for each value of the setting.
    """

    setting: str
    units: Mapping[str, str]


class Metric(NamedTuple):
    """A metric that a task reports.

    Attributes:
        name: The name in `metrics.jsonl`.
        unit: The unit, such as `nats per symbol`. It is empty for a share or another pure number.
        higher_is_better: True if a higher value is better, as for accuracies.
    """

    name: str
    unit: str | UnitBySetting = ""
    higher_is_better: bool = False


class Question(NamedTuple):
    """The settings that decide which examples a task evaluates and what their values are.

    Two numbers of a task may stand side by side only if the question of both is the same: these settings, the version,
    and the checksums of the data.

    Attributes:
        version: A number that is raised whenever the same settings begin to mean other examples or other values.
        settings: The dotted names of the settings.
        generated: The dotted names of the settings that count only while `data.path` is empty.
    """

    version: int
    settings: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()


class TaskClass(Protocol):
    """The part of a task's class that needs no data. See `nlstm_jax.tasks.Task`."""

    settings: Mapping[str, Setting]
    metrics: tuple[Metric, ...]
    question: Question

    @classmethod
    def from_config(cls, config: Config) -> Any:
        """Return the task with its data."""

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> nnx.Module:
        """Return the model with its initial values."""


_DECLARED = ("settings", "metrics", "question", "from_config", "build_model")
"""The attributes that a task's class must have."""


@functools.cache
def find_task(name: str) -> TaskClass:
    """Return the class of a task.

    Args:
        name: The name of a task of this package, or `package.module:Class`.

    Raises:
        ConfigError: There is no such task, it cannot be imported, or it lacks a declaration.
    """
    if name not in TASKS and ":" not in name:
        raise ConfigError(f"config.task: one of {', '.join(TASKS)} or package.module:Class expected, found {name!r}")
    try:
        task = import_attribute(TASKS.get(name, name))
    except ValueError as error:
        raise ConfigError(f"config.task: {error}") from None

    missing = [attribute for attribute in _DECLARED if not hasattr(task, attribute)]
    if missing:
        raise ConfigError(f"config.task: {name!r}: {', '.join(_DECLARED)} expected, found no {missing[0]}")
    _check_declarations(name, task)
    return task


def _check_declarations(name: str, task: TaskClass) -> None:
    """Raise a ConfigError if a declaration of a task is not of its type, or its question has an unknown setting."""
    owner = f"config.task: {name!r}"
    if not all(isinstance(metric, Metric) for metric in task.metrics):
        raise ConfigError(f"{owner}: metrics: a tuple of Metric expected, found {task.metrics!r}")
    if not all(isinstance(setting, Setting) for setting in task.settings.values()):
        raise ConfigError(f"{owner}: settings: a Setting for every name expected, found {task.settings!r}")
    if not isinstance(task.question, Question):
        raise ConfigError(f"{owner}: question: a Question expected, found {task.question!r}")
    for setting in (*task.question.settings, *task.question.generated):
        if setting not in task.settings and setting.partition(".")[0] in ("data", "model"):
            raise ConfigError(f"{owner}: question: settings of the task expected, found {setting!r}")


def find_metric(config: Config, name: str) -> Metric:
    """Return the declaration of a metric of a configuration's task.

    Args:
        config: The configuration.
        name: The name of the metric, as in `metrics.jsonl`.

    Raises:
        ConfigError: The task cannot be found, or it has no such metric.
    """
    metrics = find_task(config["task"]).metrics
    for metric in metrics:
        if metric.name == name:
            return metric
    names = ", ".join(metric.name for metric in metrics)
    raise ConfigError(f"config.eval.metric: one of {names} expected, found {name!r}")


def describe_metrics(config: Config) -> dict[str, JsonObject]:
    """Return the direction and the unit of every metric of a run's task, as they are written into the run folder."""
    return {
        metric.name: {"higher_is_better": metric.higher_is_better, "unit": _resolve_unit(metric.unit, config)}
        for metric in find_task(config["task"]).metrics
    }


def _resolve_unit(unit: str | UnitBySetting, config: Config) -> str:
    """Return a unit as text."""
    if isinstance(unit, str):
        return unit
    section, _, key = unit.setting.partition(".")
    return unit.units[config[section][key]]


def describe_question(config: Config, checksums: Mapping[str, str]) -> JsonObject:
    """Return the question of a run, as it is written into a run folder.

    Args:
        config: The configuration of the run.
        checksums: The checksums of its data by name, from `task.metadata`.
    """
    question = find_task(config["task"]).question
    names = question.settings
    if not config["data"].get("path"):
        names += question.generated
    settings = {}
    for name in names:
        section, _, key = name.partition(".")
        settings[name] = config[section][key]
    return {
        "task": config["task"],
        "version": question.version,
        "settings": settings,
        "checksums": dict(checksums),
    }
