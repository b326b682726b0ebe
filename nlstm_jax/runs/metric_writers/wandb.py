"""A metric writer for Weights & Biases; `WANDB_MODE=offline` keeps all in the run folder, for `wandb sync` later."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.runs.files import WANDB
from nlstm_jax.runs.metric_writers import MetricRow, MetricWriter, best_values
from nlstm_jax.runs.metric_writers.tracker import PROJECT, Tracker, TrackerFolder
from nlstm_jax.types import Config, JsonObject


class WandB(Tracker):
    """A writer with one Weights & Biases run per run folder, which is resumed when the run is resumed.

    A run that has been offline so far is written anew when it is resumed, so that it is one file. If a part of it has
    been sent, a resumed run logs the steps after it alone.
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

        files = TrackerFolder(folder / WANDB)
        earlier_parts = [path for path in files.path.glob("*run-*") if path.is_dir() and not path.is_symlink()]
        self._wandb_run = wandb.init(
            project=PROJECT,
            dir=str(folder.resolve()),
            id=files.run_id,
            name=folder.name,
            config=dict(config),
            resume="allow",
            # Runs that are trained together are runs of their own.
            settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
        )
        first_step = files.next_step
        if self._wandb_run.offline and not any(map(_may_have_been_sent, earlier_parts)):
            for path in earlier_parts:
                shutil.rmtree(path)
            first_step = 0
        super().__init__(self._wandb_run, files, first_step)
        self.write(lines)

    def write_summary(self, summary: JsonObject) -> None:
        """Put the outcome of the run into its summary there. Metrics at the best step are `best/split/metric`."""
        values = {key: value for key, value in summary.items() if not isinstance(value, dict)}
        best = {f"best/{split}/{name}": value for (split, name), value in best_values(summary).items()}
        self._wandb_run.summary.update({**values, **best})


def _may_have_been_sent(part: Path) -> bool:
    """Return True if a part of a run was online, or `wandb sync` has marked it as sent."""
    return not part.name.startswith("offline-") or any(part.glob("*.synced"))


def open_metric_writer(folder: Path, config: Config, lines: Sequence[MetricRow]) -> MetricWriter:
    """Open the Weights & Biases writer of a run."""
    return WandB(folder, config, lines)
