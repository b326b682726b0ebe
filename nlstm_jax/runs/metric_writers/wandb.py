"""A metric writer for Weights & Biases; `WANDB_MODE=offline` keeps all in the run folder, for `wandb sync` later."""

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from nlstm_jax.runs.files import WANDB
from nlstm_jax.runs.metric_writers import MetricRow, MetricWriter, scalar_values
from nlstm_jax.types import Config


class WandB:
    """A writer with one Weights & Biases run per run folder, which is resumed when the run is resumed.

    The file `wandb/last_step` has the last step that was logged. A resumed run logs the steps after it alone: offline,
    every part of a run is a file of its own, and `wandb sync` would send a step that is in two files twice.
    """

    def __init__(self, folder: Path, config: Config, lines: Sequence[MetricRow]) -> None:
        """Log in as the environment variables say, and start or resume the Weights & Biases run of this folder.

        Args:
            folder: The run folder. Its subfolder `wandb` keeps the id of the Weights & Biases run.
            config: The configuration of the run.
            lines: The lines of `metrics.jsonl` that the run already has.
        """
        # Imported here, so that this module can be imported without the optional dependency.
        import wandb

        (folder / WANDB).mkdir(exist_ok=True)
        id_file = folder / WANDB / "id"
        if not id_file.exists():
            id_file.write_text(secrets.token_hex(8), "utf-8")
        self._step_file = folder / WANDB / "last_step"
        self._first_step = 0
        if self._step_file.exists():
            self._first_step = int(self._step_file.read_text("utf-8")) + 1

        self._run = wandb.init(
            project="nlstm_jax",
            dir=str(folder.resolve()),
            id=id_file.read_text("utf-8"),
            name=folder.name,
            config=dict(config),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.write(lines)

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
            self._step_file.write_text(str(step), "utf-8")

    def close(self) -> None:
        """Send everything that is still buffered, and end the Weights & Biases run."""
        self._run.finish()


def open_metric_writer(folder: Path, config: Config, lines: Sequence[MetricRow]) -> MetricWriter:
    """Open the Weights & Biases writer of a run."""
    return WandB(folder, config, lines)
