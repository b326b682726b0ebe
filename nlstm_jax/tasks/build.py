"""The construction of a task from a configuration."""

from collections.abc import Mapping

from nlstm_jax.errors import ConfigError
from nlstm_jax.settings.tasks import TASKS, find_metric, find_task
from nlstm_jax.tasks.base import AnyTask, Task
from nlstm_jax.types import Config


def build(config: Config) -> AnyTask:
    """Build the task `config.task`: load or generate its data, and make its splits.

    Args:
        config: The whole configuration.

    Raises:
        DataError: The data are missing or not of their form.
        ConfigError: The task or the metric is unknown, or some settings contradict each other.
    """
    find_metric(config, config["eval"]["metric"])
    task: AnyTask = find_task(config["task"]).from_config(config)
    if config["task"] not in TASKS:
        _check_contract(config["task"], task)
    return task


def _check_contract(name: str, task: AnyTask) -> None:
    """Raise a ConfigError unless the user's task `name` has the attributes that the rest of the project reads."""
    owner = f"config.task: {name!r}"
    if not isinstance(task, Task):
        raise ConfigError(f"{owner}: a subclass of nlstm_jax.tasks.Task expected, found {type(task).__name__}")
    expected = {"splits": "with train", "model_dims": "of sizes by name", "metadata": "with checksums"}
    for attribute, content in expected.items():
        if not isinstance(getattr(task, attribute, None), Mapping):
            raise ConfigError(f"{owner}: {attribute}, a mapping {content}, expected, found none")
    for attribute, key in (("splits", "train"), ("metadata", "checksums")):
        if key not in getattr(task, attribute):
            found = ", ".join(getattr(task, attribute)) or "nothing"
            raise ConfigError(f"{owner}: {attribute} with {key} expected, found {found}")
