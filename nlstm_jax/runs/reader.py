"""Reading of a run folder, in whatever state its run was left."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TypeAlias, TypeGuard

from nlstm_jax.errors import DataError
from nlstm_jax.runs import files
from nlstm_jax.types import JsonObject

ConfigTransform: TypeAlias = Callable[[JsonObject], JsonObject]
"""A function that adds defaults for settings that were introduced after the run was made."""
Types: TypeAlias = Mapping[str, type | UnionType]
"""The types of the values of a JSON object, by key."""

_SECTIONS = ("data", "cell", "model", "unroll", "optimizer", "penalty", "train", "eval", "seeds")
_CONFIG_TYPES: Types = {"name": str, "task": str, **dict.fromkeys(_SECTIONS, dict)}
_SETTING_TYPES: Mapping[str, Types] = {
    "cell": {"name": str},
    "eval": {"metric": str},
    "train": {"steps": int | float, "epochs": int | float},
}
"""The types of the settings that readers of a run folder use."""
_ENVIRONMENT_TYPES: Types = {
    "command": str,
    "commit": str | None,
    "uncommitted_diff": str | None,
    "versions": dict,
    "devices": dict,
    "data": dict,
    "metrics": dict,
    "own_code": dict,
    "question": dict,
    "tokens_per_step": int | float | None,
}
_METRIC_TYPES: Types = {"higher_is_better": bool, "unit": str}
_SUMMARY_TYPES: Types = {
    "status": str,
    "steps": int,
    "best_step": int | None,
    "parameters": int,
    "cell_parameters": int,
    "wall_seconds": int | float,
    "test_looks": int,
    "train": dict,
    "valid": dict,
    "test": dict,
}


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
        summary: The outcome of the run. None while the run is being trained, and after a crash; `is_locked` tells
            them apart.
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
        return bool(self._declared(metric).get("higher_is_better", metric.endswith("accuracy")))

    def unit(self, metric: str) -> str:
        """Return the unit of the metric, or an empty text if it is a plain number or the run has not declared it."""
        default = "nats" if metric.startswith("log_loss") else ""
        return str(self._declared(metric).get("unit", default))

    def curve(self, split: str, metric: str) -> dict[int, float]:
        """Return a metric by step. Steps without a finite number are left out."""
        lines = [line for line in self.metrics if line.get("split") == split]
        return {int(line["step"]): float(line[metric]) for line in lines if is_number(line.get(metric))}

    def best_step(self, metric: str) -> int | None:
        """Return the first step with the best validation value, or None if the metric was never measured there.

        Each line of an online run measures another example, so that the best value is only luck. Its best step is the
        last one.
        """
        valid = self.curve("valid", metric)
        if not valid:
            return None
        if self.config.get("train", {}).get("online"):
            return max(valid)
        choose = max if self.higher_is_better(metric) else min
        return choose(valid, key=valid.__getitem__)

    @property
    def question(self) -> JsonObject | None:
        """The question that the run answers: task, version, settings and checksums. None in earlier versions."""
        return self.environment.get("question")

    def _declared(self, metric: str) -> JsonObject:
        """Return what the task of the run has declared of a metric. Empty if that is nothing."""
        declared: JsonObject = self.environment.get("metrics", {}).get(metric, {})
        return declared


def is_number(value: object) -> TypeGuard[float]:
    """Return True if a value is a finite number. Booleans are not numbers.

    >>> is_number(0.5), is_number(float("nan")), is_number(True)
    (True, False, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_run(path: Path | str, with_defaults: ConfigTransform = keep_unchanged) -> Run:
    """Read a run folder.

    Args:
        path: The run folder.
        with_defaults: The function that is applied to the configuration, e.g. `settings.with_defaults`.

    Raises:
        DataError: The folder has no `config.json`, one of its files is not JSON or cannot be read, a file has another
            schema, or a value has another type.
    """
    folder = Path(path)
    config = _read_json_if_present(folder / files.CONFIG, _CONFIG_TYPES)
    if config is None:
        raise DataError(f"{folder}: a run folder (one with a {files.CONFIG}) expected, none found")
    for section, types in _SETTING_TYPES.items():
        files.check_types(folder / files.CONFIG, config.get(section, {}), types)
    metrics = _read_metrics(folder / files.METRICS)
    environment = read_environment(folder)
    summary = _read_json_if_present(folder / files.SUMMARY, _SUMMARY_TYPES)
    if summary is not None and summary.get("status") == files.RUNNING:
        summary = None
    return Run(folder, with_defaults(config), environment, metrics, summary)


def read_environment(folder: Path) -> JsonObject:
    """Return the contents of `environment.json`, or an empty mapping if the folder has none.

    Raises:
        DataError: It is not JSON, has another schema, or a value has another type.
    """
    environment = _read_json_if_present(folder / files.ENVIRONMENT, _ENVIRONMENT_TYPES) or {}
    path = folder / files.ENVIRONMENT
    files.check_types(path, environment.get("data", {}), {"checksums": dict})
    declared = environment.get("metrics", {})
    files.check_types(path, declared, dict.fromkeys(declared, dict))
    for metric in declared.values():
        files.check_types(path, metric, _METRIC_TYPES)
    return environment


def _read_metrics(path: Path) -> list[JsonObject]:
    """Read the lines of a metrics file. A missing file has none.

    Raises:
        DataError: A line is not a JSON object with the step of an evaluation and numbers.
    """
    if not path.exists():
        return []
    try:
        metrics = files.parse_metrics(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: a file expected: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: one JSON object a line expected: {error}") from None
    for line_number, line in enumerate(metrics, start=1):
        message = _metrics_error(line)
        if message is not None:
            raise DataError(f"{path}: one JSON object a line expected: line {line_number}: {message}")
    return metrics


def _metrics_error(line: object) -> str | None:
    """Explain why a line of metrics is invalid. Returns None if it is valid."""
    if not isinstance(line, dict) or not isinstance(line.get("step"), int):
        return "no step of an evaluation"
    for key, value in line.items():
        expected_type = str if key == "split" else int | float
        if not isinstance(value, expected_type):
            return f"{key}: {files.type_name(expected_type)} expected, found {str(value)[:60]!r}"
    return None


def _read_json_if_present(path: Path, types: Types) -> JsonObject | None:
    """Read a JSON file of the run folder and check the types of its values. Returns None if it does not exist."""
    if not path.exists():
        return None
    document = files.read_json(path)
    files.check_types(path, document, types)
    return document
