"""Writers that show the metrics of a run in other programs: TensorBoard, Weights & Biases, Trackio.

A writer receives the lines of `metrics.jsonl` and the summary. These files stay the authoritative record.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Config, JsonObject

MetricRow: TypeAlias = JsonObject
"""One line of `metrics.jsonl`: `step`, `split`, and the metrics by name."""


class MetricWriter(Protocol):
    """A program that shows the metrics of one run."""

    def write(self, lines: Iterable[MetricRow]) -> None:
        """Show lines of `metrics.jsonl`, in the order of their steps."""

    def write_summary(self, summary: JsonObject) -> None:
        """Show the outcome of the run: the document `summary.json`."""

    def close(self) -> None:
        """Send everything that is still buffered, and close the writer."""


_REQUIRED_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
METRIC_WRITERS = tuple(_REQUIRED_PACKAGES)
"""The names of all metric writers."""


def check_metric_writers(names: Sequence[str]) -> None:
    """Check that all metric writers are known and installed.

    Raises:
        ConfigError: A name is unknown, or the package that it needs is not installed.
    """
    for name in names:
        if name not in _REQUIRED_PACKAGES:
            raise ConfigError(f"--mirror: one of {', '.join(_REQUIRED_PACKAGES)} expected, found {name!r}")
        package = _REQUIRED_PACKAGES[name]
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f'--mirror={name}: {package} expected: pip install -e ".[{name}]"')


def open_metric_writers(
    names: Sequence[str], folder: Path, config: Config, lines: Sequence[MetricRow]
) -> list[MetricWriter]:
    """Open the metric writers of a run.

    Args:
        names: The names of the writers, each one of `METRIC_WRITERS`.
        folder: The run folder.
        config: The configuration of the run.
        lines: The lines of `metrics.jsonl` that the run already has.
    """
    modules = [importlib.import_module(f"nlstm_jax.runs.metric_writers.{name}") for name in names]
    openers: list[Callable[..., MetricWriter]] = [module.open_metric_writer for module in modules]
    return [open_metric_writer(folder, config, lines) for open_metric_writer in openers]


def scalar_values(line: MetricRow) -> dict[str, float]:
    """Return the numbers of a line by name, without its step and without booleans."""
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
    }


def best_values(summary: JsonObject) -> dict[tuple[str, str], float]:
    """Return the metrics at the best step by split and name. They are none if no evaluation was the best."""
    return {
        (split, name): value
        for split in ("train", "valid")
        for name, value in scalar_values(summary.get(split, {})).items()
    }
