"""Where the metrics of a run are also shown: TensorBoard, Weights & Biases.

A mirror is fed by the lines of `metrics.jsonl`, which stays the one that counts.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nlstm_jax.errors import ConfigError

Line = Mapping[str, Any]


class MetricWriter(Protocol):
    """Shows lines somewhere."""

    def write(self, lines: Iterable[Line]) -> None:
        """Show lines, in the order of their steps."""

    def close(self) -> None:
        """Send what is left."""


_NEEDS = {"tensorboard": "tensorboardX", "wandb": "wandb"}
METRIC_WRITERS = tuple(_NEEDS)


def check_metric_writers(names: Sequence[str]) -> None:
    """Raise a ConfigError unless all are known and installed."""
    for name in names:
        if name not in _NEEDS:
            raise ConfigError(f"--mirror: one of {', '.join(_NEEDS)} expected, found {name!r}")
        if importlib.util.find_spec(_NEEDS[name]) is None:
            raise ConfigError(f'--mirror={name}: {_NEEDS[name]} expected: pip install -e ".[{name}]"')


def open_metric_writers(
    names: Sequence[str], folder: Path, config: Mapping[str, Any], lines: Sequence[Line]
) -> list[MetricWriter]:
    """Mirrors of a run.

    Args:
        names: of `METRIC_WRITERS`.
        folder: of the run.
        config: its configuration.
        lines: that it has already.
    """
    modules = [importlib.import_module(f"nlstm_jax.runs.metric_writers.{name}") for name in names]
    make: list[Callable[..., MetricWriter]] = [module.open_metric_writer for module in modules]
    return [each(folder, config, lines) for each in make]


def numbers(line: Line) -> dict[str, float]:
    """What can be drawn of a line, by name."""
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }
