"""A metric writer for TensorBoard, through tensorboardX: `tensorboard --logdir=runs`."""

import json
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from nlstm_jax.runs.configuration import flatten
from nlstm_jax.runs.files import TENSORBOARD
from nlstm_jax.runs.metric_writers import MetricRow, MetricWriter, best_values, scalar_values
from nlstm_jax.types import Config, JsonObject

_FLUSH_SECONDS = 10
"""The time after which a point is in the file. tensorboardX writes in a thread that its method `flush` ignores."""


class TensorBoard:
    """A writer of TensorBoard event files in the run folder.

    The files are written anew when a run is resumed, so that no point appears twice. The settings are there from the
    beginning, so that the HPARAMS tab also has a run that goes on. The metrics at the best step are scalars of their
    own, `best/metric/split`, as that tab shows the last value of a scalar.
    """

    def __init__(self, folder: Path, config: Config, lines: Sequence[MetricRow]) -> None:
        """Delete the old event files, and write the settings and the lines that the run already has.

        Args:
            folder: The run folder.
            config: The configuration of the run.
            lines: The lines of `metrics.jsonl` that the run already has.
        """
        # Imported here, so that this module can be imported without the optional dependency.
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        self._writer = SummaryWriter(str(folder / TENSORBOARD), flush_secs=_FLUSH_SECONDS)

        # Without a description of the experiment TensorBoard shows the settings of all runs, also of other cells.
        _, session_start, self._session_end = hparams(_setting_values(config), {})
        self._writer.file_writer.add_summary(session_start)

        seconds_so_far = 0.0
        if lines:
            seconds_so_far = lines[-1].get("wall_seconds", 0.0)
        self._start_time = time.time() - seconds_so_far
        self.write(lines)

    def write(self, lines: Iterable[MetricRow]) -> None:
        """Write every number of every line as a scalar with the tag `metric/split`."""
        for line in lines:
            wall_time = self._start_time + line.get("wall_seconds", 0.0)
            for name, value in scalar_values(line).items():
                self._writer.add_scalar(f"{name}/{line['split']}", value, line["step"], walltime=wall_time)

    def write_summary(self, summary: JsonObject) -> None:
        """Write the metrics at the best step as scalars with the tag `best/metric/split`, and the end of the run."""
        for (split, name), value in best_values(summary).items():
            self._writer.add_scalar(f"best/{name}/{split}", value, summary["best_step"])
        if summary["status"] == "finished":
            self._writer.file_writer.add_summary(self._session_end)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def _setting_values(config: Config) -> dict[str, bool | float | str]:
    """Return the settings by dotted key, as values that TensorBoard knows. A list becomes a text."""
    values: dict[str, bool | float | str] = {}
    for key, value in flatten(config).items():
        if value is None:
            continue
        values[key] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return values


def open_metric_writer(folder: Path, config: Config, lines: Sequence[MetricRow]) -> MetricWriter:
    """Open the TensorBoard writer of a run."""
    return TensorBoard(folder, config, lines)
