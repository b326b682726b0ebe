"""Reading of a run folder, in whatever state its run was left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files
from nlstm_jax.runs.files import JsonObject

ConfigTransform: TypeAlias = Callable[[JsonObject], JsonObject]
"""A function that adds defaults for settings that were introduced after the run was made."""


def keep_unchanged(config: JsonObject) -> JsonObject:
    """Return the configuration without a change."""
    return config


@dataclass(frozen=True)
class Run:
    """The contents of one run folder.

    Attributes:
        path: The run folder.
        config: The resolved configuration.
        environment: Versions, commit, devices, data checksums, metrics and question. Empty if the run stopped before
            it wrote them.
        metrics: The lines of `metrics.jsonl`, in order.
        summary: The outcome of the run. None while the run is being trained, and after a crash.
    """

    path: Path
    config: JsonObject
    environment: JsonObject
    metrics: list[JsonObject]
    summary: JsonObject | None

    def higher_is_better(self, metric: str) -> bool:
        """Return True if a higher value of the metric is better.

        The task of the run has declared it. If it has not, as in runs of earlier versions, higher is better for
        accuracies alone.
        """
        declared = self.environment.get("metrics", {}).get(metric)
        if declared is None:
            return metric.endswith("accuracy")
        return bool(declared["higher_is_better"])

    def unit(self, metric: str) -> str:
        """Return the unit of the metric, or an empty text if it is a plain number or the run has not declared it."""
        declared = self.environment.get("metrics", {}).get(metric)
        if declared is None:
            return "nats" if metric.startswith("log_loss") else ""
        return str(declared["unit"])

    @property
    def question(self) -> JsonObject | None:
        """The question that the run answers: task, version, settings and checksums. None in earlier versions."""
        return self.environment.get("question")


def read_run(path: Path | str, with_defaults: ConfigTransform = keep_unchanged) -> Run:
    """Read a run folder.

    Args:
        path: The run folder.
        with_defaults: The function that is applied to the configuration, e.g. `settings.with_defaults`.

    Raises:
        DataError: The folder has no `config.json`, one of its files is not JSON, or a file has another schema.
    """
    folder = Path(path)
    config = _read_json_if_present(folder / files.CONFIG)
    if config is None:
        raise DataError(f"{folder}: a run folder (one with a {files.CONFIG}) expected, none found")
    metrics = _read_metrics(folder / files.METRICS)
    return Run(
        folder,
        with_defaults(config),
        read_environment(folder),
        metrics,
        _read_json_if_present(folder / files.SUMMARY),
    )


def read_environment(folder: Path) -> JsonObject:
    """Return the contents of `environment.json`, or an empty mapping if the folder has none."""
    return _read_json_if_present(folder / files.ENVIRONMENT) or {}


def _read_metrics(path: Path) -> list[JsonObject]:
    """Read the complete lines of a metrics file. A missing file has none.

    Raises:
        DataError: A line is not a JSON object with the step of an evaluation.
    """
    if not path.exists():
        return []
    try:
        metrics = files.parse_metrics(path.read_text("utf-8"))
        for line_number, line in enumerate(metrics, start=1):
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise ValueError(f"line {line_number}: no step of an evaluation")
    except ValueError as error:
        raise DataError(f"{path}: one JSON object a line expected: {error}") from None
    return metrics


def _read_json_if_present(path: Path) -> JsonObject | None:
    """Read a JSON file of the run folder. Returns None if it does not exist."""
    return files.read_json(path) if path.exists() else None
