"""The task that a configuration asks for."""

from collections.abc import Mapping
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.base import Task
from nlstm_jax.tasks.poems import build_poems
from nlstm_jax.tasks.sales import build_sales
from nlstm_jax.tasks.text import build_text


def build(config: Mapping[str, Any]) -> Task:
    """Load the data of `config.task` and make its splits.

    Raises:
        DataError: data that are missing or not of their form.
        ConfigError: an unknown task, metric, or settings that do not go together.
    """
    task: Task
    if config["task"] == "poems":
        task = build_poems(config["data"], config["train"]["batch_size"])
    elif config["task"] == "sales":
        task = build_sales(config["data"], config["model"]["likelihood"])
    elif config["task"] == "text":
        task = build_text(config["data"], config["train"]["batch_size"], config["train"]["loss_per"])
    else:
        raise ConfigError(f"config.task: poems, sales or text expected, found {config['task']!r}")
    metric = config["eval"]["metric"]
    if metric not in task.metrics:
        raise ConfigError(f"config.eval.metric: one of {', '.join(task.metrics)} expected, found {metric!r}")
    return task
