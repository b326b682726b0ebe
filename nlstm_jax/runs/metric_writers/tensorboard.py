"""TensorBoard, by tensorboardX: `tensorboard --logdir=runs`."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlstm_jax.runs.files import TENSORBOARD
from nlstm_jax.runs.metric_writers import Line, MetricWriter, numbers


class TensorBoard:
    """Event files in the run folder, made anew when a run goes on, so that no point is there twice."""

    def __init__(self, folder: Path, lines: Sequence[Line]) -> None:
        """Write the lines that there are."""
        # Imported where it is used: this module can be imported without the extra.
        from tensorboardX import SummaryWriter

        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
        self._writer = SummaryWriter(str(folder / TENSORBOARD))
        now, last = time.time(), lines[-1].get("wall_seconds", 0.0) if lines else 0.0
        self._begun = now - last
        self.write(lines)

    def write(self, lines: Iterable[Line]) -> None:
        """One scalar a number, `metric/split`."""
        for line in lines:
            at = self._begun + line.get("wall_seconds", 0.0)
            for name, value in numbers(line).items():
                self._writer.add_scalar(f"{name}/{line['split']}", value, line["step"], walltime=at)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def open_metric_writer(folder: Path, config: Mapping[str, Any], lines: Sequence[Line]) -> MetricWriter:
    """TensorBoard's mirror of a run."""
    del config
    return TensorBoard(folder, lines)
