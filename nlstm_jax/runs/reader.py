"""Reading a run folder, whatever state its run was left in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files

Completed: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes of an older run's configuration one that has what has become a setting since."""


def as_it_stands(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, nothing added."""
    return config


@dataclass(frozen=True)
class Run:
    """What one run folder says.

    Attributes:
        path: the folder.
        config: the resolved configuration.
        environment: versions, commit, devices, data checksums; empty where the run never got so far.
        metrics: the lines of `metrics.jsonl`, in order.
        summary: what the run ended with; None while it goes on, or after a crash.
    """

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    metrics: list[dict[str, Any]]
    summary: dict[str, Any] | None


def read_run(path: Path | str, with_defaults: Completed = as_it_stands) -> Run:
    """Read a run folder.

    Args:
        path: the folder.
        with_defaults: what is done to the configuration.

    Raises:
        DataError: the folder has no `config.json`, one of its files is not JSON, or its schema is another.
    """
    folder = Path(path)
    config = _read_json(folder / files.CONFIG)
    if config is None:
        raise DataError(f"{folder}: a run folder (one with a {files.CONFIG}) expected, none found")
    metrics_path = folder / files.METRICS
    try:
        text = metrics_path.read_text("utf-8") if metrics_path.exists() else ""
        metrics = files.parse_metrics(text)
        for number, line in enumerate(metrics, start=1):
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise ValueError(f"line {number}: no step of an evaluation")
    except ValueError as error:
        raise DataError(f"{metrics_path}: one JSON object a line expected: {error}") from None
    return Run(
        folder,
        with_defaults(config),
        _read_json(folder / files.ENVIRONMENT) or {},
        metrics,
        _read_json(folder / files.SUMMARY),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    return files.read_json(path) if path.exists() else None
