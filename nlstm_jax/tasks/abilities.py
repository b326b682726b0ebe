"""The abilities that a task may have besides being trained. Each serves a script, or a method of `LoadedRun`.

A task has an ability if its class has the methods. Nothing is registered.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from rich.table import Table

from nlstm_jax.errors import ConfigError
from nlstm_jax.settings import TASKS, find_task
from nlstm_jax.tasks.sampling import SampleRequest
from nlstm_jax.types import Float


@runtime_checkable
class Samples(Protocol):
    """The ability to be sampled by `experiments.sample`."""

    def sample(self, model: Any, request: SampleRequest) -> str | Table:
        """Return samples of a trained model as text or as a table.

        Raises:
            ConfigError: The prompt is not of the task's form.
        """


@runtime_checkable
class Classifies(Protocol):
    """The ability to classify new sequences with `experiments.classify`.

    Attributes:
        classes: The names of the classes, in the order of their indices.
    """

    classes: Sequence[str]

    def probabilities(
        self, model: Any, sequences: Sequence[Sequence[str]], names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N K"]:
        """Return the probability of each class for new sequences.

        Args:
            model: The trained model.
            sequences: The symbols of each sequence.
            names: The name of each sequence in error messages. The default is its number, from 1.

        Raises:
            DataError: A sequence has no symbols, or a symbol that the training data lack.
        """


@runtime_checkable
class Predicts(Protocol):
    """The ability to predict something of new inputs, by `LoadedRun.predict`."""

    def predict(
        self, model: Any, inputs: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> Float[np.ndarray, "..."]:
        """Return what a trained model predicts of each input, along the first axis.

        Args:
            model: The trained model.
            inputs: The inputs as text. None if the data of the task have the inputs.
            names: The name of each input in error messages. The default is its number, from 1.

        Raises:
            ConfigError: The task expects inputs and gets none, or the reverse.
            DataError: An input is not of the task's form.
        """


@runtime_checkable
class Forecasts(Protocol):
    """The ability to write forecasts with `experiments.forecast`."""

    def forecast(self, model: Any, out: Path) -> tuple[Table, str]:
        """Write the forecasts of a trained model to the file `out`.

        Returns:
            A table and a line to show.

        Raises:
            DataError: The data lack what the forecast is for.
        """


@runtime_checkable
class HasSymbols(Protocol):
    """The ability to name what the numbers in the model's inputs stand for.

    Attributes:
        symbols: The symbols, in the order of their indices.
    """

    symbols: Sequence[str]


@runtime_checkable
class HasScaling(Protocol):
    """The ability to name the numbers of the training data that inputs and targets were scaled with.

    Attributes:
        scaling: The mean and the deviation of each channel, and the unit of the targets. An input is (value − mean) /
            deviation, and a target is value / unit.
    """

    scaling: Mapping[str, float | Sequence[float]]


@runtime_checkable
class ShowsExamples(Protocol):
    """The ability to show examples by `experiments.show data`."""

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first examples of a split as a person reads them, each with its target.

        Args:
            split: The name of a split.
            count: The number of examples.
        """


@runtime_checkable
class Baselines(Protocol):
    """The ability to be compared by `experiments.baselines` with forecasts that need no network.

    Attributes:
        baseline_metric: The metric that the table shows.
    """

    baseline_metric: str

    def baselines(self, split: str) -> dict[str, dict[str, float]]:
        """Return the errors of each baseline on a split, by the name of the baseline.

        Args:
            split: The name of a validation or test split.

        Raises:
            ConfigError: scikit-learn is not installed.
        """


def missing_ability(method: str, owner: str, name: str) -> ConfigError:
    """Return the error about a task that lacks an ability. It names the tasks of this package that have it.

    Args:
        method: The method that a task with the ability has.
        owner: The beginning of the message, such as `--workdir: a run`.
        name: The name of the task.
    """
    able = [known for known in TASKS if hasattr(find_task(known), method)]
    return ConfigError(
        f"{owner} of {', '.join(able)} or a task with the method `{method}` expected, found one of {name}"
    )
