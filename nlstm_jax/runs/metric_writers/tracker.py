"""The part of a metric writer that Weights & Biases and Trackio share, as they have the same interface."""

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from nlstm_jax.runs.metric_writers import MetricRow, scalar_values

PROJECT = "nlstm_jax"
"""The project that has all runs."""


class TrackedRun(Protocol):
    """A run of Weights & Biases or of Trackio."""

    def log(self, data: dict[str, float], step: int | None = None) -> None:
        """Show one point."""

    def finish(self) -> None:
        """Send everything that is still buffered, and end the run."""


class TrackerFolder:
    """The files that tie a run folder to the run of a tracker.

    `id` identifies the tracker's run. `last_step` has the last step that was logged.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder, and choose an id at the first start of a run."""
        path.mkdir(exist_ok=True)
        self.path = path
        self._id_file = path / "id"
        self._step_file = path / "last_step"
        if not self._id_file.exists():
            self._id_file.write_text(secrets.token_hex(8), "utf-8")

    @property
    def run_id(self) -> str:
        """The id of the tracker's run."""
        return self._id_file.read_text("utf-8")

    @property
    def next_step(self) -> int:
        """The first step that has not been logged."""
        if not self._step_file.exists():
            return 0
        return int(self._step_file.read_text("utf-8")) + 1

    def write_last_step(self, step: int) -> None:
        """Write that a step has been logged."""
        self._step_file.write_text(str(step), "utf-8")


class Tracker:
    """A writer that logs one point per step to the run of a tracker."""

    def __init__(self, run: TrackedRun, folder: TrackerFolder, first_step: int) -> None:
        """Take up a run.

        Args:
            run: The run, which has been started or resumed.
            folder: The files that tie the run folder to it.
            first_step: The first step that the run lacks.
        """
        self._run = run
        self._folder = folder
        self._first_step = first_step

    def write(self, lines: Iterable[MetricRow]) -> None:
        """Log one point per step with the metrics of all splits, named `split/metric`.

        Steps that an earlier part of the run has logged are left out.
        """
        points: dict[int, dict[str, float]] = {}
        for line in lines:
            if line["step"] < self._first_step:
                continue
            values = {f"{line['split']}/{name}": value for name, value in scalar_values(line).items()}
            points.setdefault(line["step"], {}).update(values)
        for step, point in points.items():
            self._run.log(point, step=step)
            self._folder.write_last_step(step)

    def close(self) -> None:
        """Send everything that is still buffered, and end the run."""
        self._run.finish()
