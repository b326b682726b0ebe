"""Looking at the test split leaves a trace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import files
from nlstm_jax.runs.lock import hold
from nlstm_jax.runs.reader import read_run


def record_test_look(folder: Path, report: Mapping[str, float], step: int) -> int:
    """Write the test metrics of a finished run into its summary, and count the look.

    Returns:
        How often the test split of this run has been looked at.

    Raises:
        ConfigError: the run has not ended, so that what is seen could still decide something.
        RunFolderInUseError: another process is writing.
    """
    with hold(folder):
        summary: dict[str, Any] | None = read_run(folder).summary
        if summary is None or summary["status"] == "interrupted":
            raise ConfigError(
                f"{folder}: a finished run expected for a look at its test split, found one that goes on"
            )
        summary["test"] = {**report, "step": step}
        summary["test_looks"] = summary.get("test_looks", 0) + 1
        files.write_json(folder / files.SUMMARY, summary)
        return summary["test_looks"]
