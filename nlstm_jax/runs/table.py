"""Runs and their metrics as tables: a DataFrame if pandas is installed, otherwise one array for each column."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nlstm_jax.runs.configuration import flatten
from nlstm_jax.runs.lock import is_locked
from nlstm_jax.runs.reader import Run
from nlstm_jax.types import JsonObject

if TYPE_CHECKING:
    import pandas

Table: TypeAlias = "pandas.DataFrame | dict[str, np.ndarray]"
"""A table whose columns are taken by name, `table["step"]`."""

_SPLITS = ("train", "valid", "test")
_COUNTS = ("steps", "best_step", "cell_parameters", "parameters", "wall_seconds", "test_looks")
"""The numbers of a summary that are columns."""


def tabulate(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return a table with one row for each mapping, and one column for each key in order of appearance.

    A missing number is NaN, and any other missing value is None.

    Args:
        rows: The values of each row by column.

    >>> table = tabulate([{"step": 1}, {"step": 2, "log_loss": 0.5}])
    >>> list(table), [float(value) for value in table["log_loss"]]
    (['step', 'log_loss'], [nan, 0.5])
    """
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _to_array([row.get(name) for row in rows]) for name in names}
    try:
        import pandas
    except ModuleNotFoundError:
        return columns
    return pandas.DataFrame(columns)


def describe_run(run: Run) -> JsonObject:
    """Return one flat row about a run.

    It has the path, the status, the counts of the summary, the commit and the kind of device. Metrics at the best step
    are named `SPLIT/METRIC`, e.g. `valid/log_loss`. Settings are named by their dotted keys, e.g. `cell.name`. A run
    that has not ended has the metrics of its best step so far.
    """
    summary = run.summary or _summarize_so_far(run)
    row: JsonObject = {"path": str(run.path), "status": summary["status"]}
    row |= {name: summary.get(name) for name in _COUNTS}
    for split in _SPLITS:
        row |= {f"{split}/{name}": value for name, value in summary.get(split, {}).items()}
    row["commit"] = run.environment.get("commit")
    row["device"] = run.environment.get("devices", {}).get("kind")
    return row | flatten(run.config)


def _summarize_so_far(run: Run) -> JsonObject:
    """Return the status and the metrics of a run without a summary, in the form of a summary."""
    summary: JsonObject = {"status": "running" if is_locked(run.path) else "stopped"}
    metric = run.config.get("eval", {}).get("metric", "log_loss")
    best_step = run.best_step(metric)
    if run.metrics:
        summary["steps"] = run.metrics[-1]["step"]
    if best_step is None:
        return summary

    summary["best_step"] = best_step
    for line in run.metrics:
        if line["step"] == best_step and line.get("split") in ("train", "valid"):
            summary[line["split"]] = _only_metrics(line)
    return summary


def _only_metrics(line: JsonObject) -> JsonObject:
    """Return the values of a line of metrics without its position."""
    return {name: value for name, value in line.items() if name not in ("step", "epoch", "split", "schema")}


def _to_array(values: Iterable[object]) -> np.ndarray:
    """Return an array of numbers or truth values if all values are, otherwise one of objects. None becomes NaN."""
    items = list(values)
    present = [item for item in items if item is not None]
    if present and all(isinstance(item, bool) for item in items):
        return np.array(items, dtype=bool)
    if present and all(isinstance(item, int | float) and not isinstance(item, bool) for item in present):
        if len(present) == len(items) and all(isinstance(item, int) for item in items):
            return np.array(items, dtype=np.int64)
        return np.array([np.nan if item is None else item for item in items], dtype=np.float64)
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
