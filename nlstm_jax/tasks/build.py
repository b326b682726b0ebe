"""The construction of a task from a configuration."""

from collections.abc import Mapping
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.base import Task
from nlstm_jax.tasks.classify import build_classify
from nlstm_jax.tasks.echo import EchoTask
from nlstm_jax.tasks.poems import build_poems
from nlstm_jax.tasks.sales import build_sales
from nlstm_jax.tasks.stocks import build_stocks
from nlstm_jax.tasks.text import build_text


def build(config: Mapping[str, Any]) -> Task:
    """Build the task `config.task`: load or generate its data, and make its splits.

    Args:
        config: The whole configuration, with the sections `data`, `train`, `model` and `eval`.

    Raises:
        DataError: The data are missing or not of their form.
        ConfigError: The task or the metric is unknown, or some settings contradict each other.
    """
    name = config["task"]
    data = config["data"]
    train = config["train"]
    model = config["model"]

    task: Task
    if name == "poems":
        task = build_poems(data, train["batch_size"])
    elif name == "sales":
        task = build_sales(data, model["likelihood"])
    elif name == "text":
        task = build_text(data, train["batch_size"], train["loss_per"])
    elif name == "echo":
        task = EchoTask(data)
    elif name == "stocks":
        task = build_stocks(data, model["likelihood"], train["online"])
    elif name == "classify":
        task = build_classify(data, train["stateful"], model["output"])
    else:
        raise ConfigError(f"config.task: poems, sales, text, echo, stocks or classify expected, found {name!r}")

    metric = config["eval"]["metric"]
    if metric not in task.metrics:
        raise ConfigError(f"config.eval.metric: one of {', '.join(task.metrics)} expected, found {metric!r}")
    return task
