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
        environment: Versions, commit, devices and data checksums. Empty if the run stopped before it wrote them.
        metrics: The lines of `metrics.jsonl`, in order.
        summary: The outcome of the run. None while the run is being trained, and after a crash; `is_locked` tells
            them apart.
    """

    path: Path
    config: JsonObject
    environment: JsonObject
    metrics: list[JsonObject]
    summary: JsonObject | None


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
    environment = _read_json_if_present(folder / files.ENVIRONMENT) or {}
    summary = _read_json_if_present(folder / files.SUMMARY)
    if summary is not None and summary.get("status") == files.RUNNING:
        summary = None
    return Run(folder, with_defaults(config), environment, metrics, summary)


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
