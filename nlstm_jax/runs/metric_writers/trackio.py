"""A metric writer for Trackio, which keeps all on this machine: `trackio show --project=nlstm_jax`."""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from contextvars import Context
from functools import partial
from pathlib import Path

from nlstm_jax.runs.configuration import flatten
from nlstm_jax.runs.files import TRACKIO
from nlstm_jax.runs.metric_writers import MetricRow, MetricWriter, best_values
from nlstm_jax.runs.metric_writers.tracker import PROJECT, Tracker, TrackerFolder
from nlstm_jax.types import Config, JsonObject

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")
"""The environment variables that send a run elsewhere."""


class Trackio(Tracker):
    """A writer with one Trackio run per run folder, named by the folder and its id.

    Trackio's database on this machine is shared by all runs. The run there is written anew when it is resumed. Of a
    run that is sent elsewhere, only the steps after the last one sent are.
    """

    def __init__(self, folder: Path, config: Config, lines: Sequence[MetricRow]) -> None:
        """Start or resume the Trackio run of this folder.

        Args:
            folder: The run folder. Its subfolder `trackio` keeps the id of the Trackio run.
            config: The configuration of the run.
            lines: The lines of `metrics.jsonl` that the run already has.
        """
        # Imported here, so that this module can be imported without the optional dependency.
        import trackio

        files = TrackerFolder(folder / TRACKIO)
        name = f"{folder.name}-{files.run_id[:6]}"
        first_step = files.next_step
        if not any(map(os.environ.get, _REMOTE)):
            _delete_run(name)
            first_step = 0
        start = partial(
            trackio.init,
            project=PROJECT,
            name=name,
            config=flatten(config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
        # In a context of its own it does not end another run that is trained in this process.
        with redirect_stdout(io.StringIO()):
            self._trackio_run = Context().run(start)
        super().__init__(self._trackio_run, files, first_step)
        self.write(lines)

    def write_summary(self, summary: JsonObject) -> None:
        """Log the metrics at the best step, as `best/split/metric`, since Trackio has no summary."""
        best = {f"best/{split}/{name}": value for (split, name), value in best_values(summary).items()}
        if best:
            self._trackio_run.log(best, step=summary["best_step"])

    def close(self) -> None:
        """Write everything that is still buffered, and end the run."""
        with redirect_stdout(io.StringIO()):
            super().close()


def _delete_run(name: str) -> None:
    """Delete a run from the database on this machine, if it is there."""
    import trackio

    try:
        runs = list(trackio.Api().runs(PROJECT))
    except ValueError:
        # No run has been logged so far.
        return
    for run in runs:
        if run.name == name:
            run.delete()


def open_metric_writer(folder: Path, config: Config, lines: Sequence[MetricRow]) -> MetricWriter:
    """Open the Trackio writer of a run."""
    return Trackio(folder, config, lines)
