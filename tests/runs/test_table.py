"""Runs and metrics as tables, with pandas and without."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from nlstm_jax.analysis.curves import run_best
from nlstm_jax.runs import Run
from nlstm_jax.runs.table import describe_run, tabulate

CONFIG = {"name": "lstm", "task": "mine", "cell": {"name": "lstm", "dropout": [0.1]}, "eval": {"metric": "accuracy"}}
ENVIRONMENT = {"commit": "abc", "devices": {"kind": "cpu"}, "metrics": {"error": {"higher_is_better": False}}}
ROWS = [
    {"step": step, "epoch": 1.0, "split": split, "accuracy": value, "error": 1 - value}
    for step, values in ((4, (0.5, 0.4)), (8, (0.7, 0.8)), (12, (0.9, 0.6)))
    for split, value in zip(("train", "valid"), values, strict=True)
]


def test_a_table_has_numbers_where_all_values_are_numbers(monkeypatch) -> None:
    rows = [{"a": 1, "b": 0.5, "c": True, "d": "x", "e": [1, 2]}, {"a": 2, "c": False, "d": "y", "f": True}]
    frame = tabulate(rows)
    monkeypatch.setitem(sys.modules, "pandas", None)
    arrays = tabulate(rows)
    assert isinstance(arrays, dict)
    assert {name: array.dtype.kind for name, array in arrays.items()} == dict(zip("abcdef", "ifbOOO", strict=True))
    for name, array in arrays.items():
        assert len(array) == 2
        for value, other in zip(array, frame[name], strict=True):
            both_missing = value is None or (isinstance(value, float) and math.isnan(value))
            assert both_missing or value == other, name
    assert arrays["e"][0] == [1, 2]
    assert arrays["f"].tolist() == [None, True]
    assert np.isnan(arrays["b"][1])


def test_a_finished_run_is_described_by_its_summary() -> None:
    summary = {"status": "finished", "steps": 12, "best_step": 8, "parameters": 90, "valid": {"accuracy": 0.8}}
    row = describe_run(Run(Path("runs/a"), CONFIG, ENVIRONMENT, ROWS, summary))
    assert (row["path"], row["status"], row["steps"], row["parameters"]) == ("runs/a", "finished", 12, 90)
    assert (row["valid/accuracy"], row["commit"], row["device"]) == (0.8, "abc", "cpu")
    assert (row["cell.name"], row["cell.dropout"], row["eval.metric"]) == ("lstm", [0.1], "accuracy")
    assert row["test_looks"] is None


@pytest.mark.parametrize(("metric", "best_step"), [("accuracy", 8), ("error", 8), ("absent", None)])
def test_a_run_that_goes_on_is_described_by_its_best_step_so_far(tmp_path: Path, metric, best_step) -> None:
    config = {**CONFIG, "eval": {"metric": metric}}
    row = describe_run(Run(tmp_path, config, ENVIRONMENT, ROWS, None))
    assert (row["status"], row["steps"], row["best_step"]) == ("stopped", 12, best_step)
    if best_step is None:
        assert "valid/accuracy" not in row
    else:
        assert (row["valid/accuracy"], row["train/accuracy"], row["valid/error"]) == (0.8, 0.7, 1 - 0.8)


@pytest.mark.parametrize("online", [False, True])
def test_the_best_step_of_a_table_is_that_of_compare(tmp_path: Path, online: bool) -> None:
    """Of an online run, whose lines measure other examples each, it is the last."""
    run = Run(tmp_path, {**CONFIG, "train": {"online": online}}, ENVIRONMENT, ROWS, None)
    row = describe_run(run)
    best = run_best(run, "accuracy")
    assert row["best_step"] == best.step == (12 if online else 8)
    assert (row["valid/accuracy"], row["train/accuracy"]) == (best.valid, best.train)
