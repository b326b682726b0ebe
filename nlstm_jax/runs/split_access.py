"""Looking at the test split leaves a trace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import files
from nlstm_jax.runs.lock import acquire_lock
from nlstm_jax.runs.reader import Run, read_run


def check_test_look(run: Run) -> dict[str, Any]:
    """The summary of a run whose test split may be looked at.

    Raises:
        ConfigError: the run has not ended, so that what is seen could still decide something.
    """
    if run.summary is None or run.summary["status"] == "interrupted":
        raise ConfigError(f"{run.path}: a finished run expected for a look at its test split, found one that goes on")
    return run.summary


def record_test_look(folder: Path, report: Mapping[str, float], step: int) -> int:
    """Write the test metrics of a finished run into its summary, and count the look.

    Returns:
        How often the test split of this run has been looked at.

    Raises:
        ConfigError: see `check_test_look`.
        RunFolderInUseError: another process is writing.
    """
    with acquire_lock(folder):
        summary = check_test_look(read_run(folder))
        summary["test"] = {**report, "step": step}
        summary["test_looks"] = summary.get("test_looks", 0) + 1
        files.write_json(folder / files.SUMMARY, summary)
        return summary["test_looks"]
