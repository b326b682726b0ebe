"""Evaluation on the test split: allowed for finished runs only, and counted in their summary."""

from collections.abc import Mapping
from pathlib import Path

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import files
from nlstm_jax.runs.lock import acquire_lock
from nlstm_jax.runs.reader import Run, read_run
from nlstm_jax.types import JsonObject


def check_test_look(run: Run) -> JsonObject:
    """Return the summary of a run that may be evaluated on its test split.

    Raises:
        ConfigError: The run has not ended, so that a test result could still influence a decision.
    """
    if run.summary is None or run.summary.get("status") == "interrupted":
        raise ConfigError(f"{run.path}: a finished run expected for a look at its test split, found one that goes on")
    return run.summary


def record_test_look(folder: Path, report: Mapping[str, float], step: int) -> int:
    """Write the test metrics of a finished run into its summary, and count the evaluation.

    Args:
        folder: The run folder.
        report: The test metrics by name.
        step: The step of the checkpoint that was evaluated.

    Returns:
        The number of evaluations of this run on its test split so far.

    Raises:
        ConfigError: The run has not ended, see `check_test_look`.
        RunFolderInUseError: Another process is writing to the folder.
        StorageError: The folder cannot be written, so that the evaluation is not counted.
    """
    with acquire_lock(folder):
        summary = check_test_look(read_run(folder))
        summary["test"] = {**report, "step": step}
        summary["test_looks"] = summary.get("test_looks", 0) + 1
        files.write_json(folder / files.SUMMARY, summary)
        look_count: int = summary["test_looks"]
        return look_count
