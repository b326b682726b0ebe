"""The construction of a task from a configuration."""

from nlstm_jax.settings.tasks import find_metric, find_task
from nlstm_jax.tasks.base import AnyTask
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
    return task
