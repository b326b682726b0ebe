"""A metric writer for TensorBoard, through tensorboardX: `tensorboard --logdir=runs`."""

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from nlstm_jax.runs.files import TENSORBOARD
from nlstm_jax.runs.metric_writers import MetricRow, MetricWriter, scalar_values
from nlstm_jax.types import Config


class TensorBoard:
    """A writer of TensorBoard event files in the run folder.

    The files are written anew when a run is resumed, so that no point appears twice.
    """

    def __init__(self, folder: Path, lines: Sequence[MetricRow]) -> None:
        """Delete the old event files, and write the lines that the run already has.

        Args:
            folder: The run folder.
            lines: The lines of `metrics.jsonl` that the run already has.
        """
        # Imported here, so that this module can be imported without the optional dependency.
        from tensorboardX import SummaryWriter

        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        self._writer = SummaryWriter(str(folder / TENSORBOARD))

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
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def open_metric_writer(folder: Path, config: Config, lines: Sequence[MetricRow]) -> MetricWriter:
    """Open the TensorBoard writer of a run. The configuration is not used."""
    del config
    return TensorBoard(folder, lines)
