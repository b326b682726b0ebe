"""Weights & Biases; `WANDB_MODE=offline` keeps all in the run folder, for `wandb sync` later."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nlstm_jax.runs.files import WANDB
from nlstm_jax.runs.metric_writers import Line, MetricWriter, numbers


class WandB:
    """One of their runs for each run folder, gone on with when the run is."""

    def __init__(self, folder: Path, config: Mapping[str, Any], lines: Sequence[Line]) -> None:
        """Log in as the environment says, and go on with the run of this folder if there is one."""
        # Imported where it is used: this module can be imported without the extra.
        import wandb

        (folder / WANDB).mkdir(exist_ok=True)
        known = folder / WANDB / "id"
        if not known.exists():
            known.write_text(secrets.token_hex(8), "utf-8")
        self._run = wandb.init(
            project="nlstm_jax",
            dir=str(folder.resolve()),
            id=known.read_text("utf-8"),
            name=folder.name,
            config=dict(config),
            resume="allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        # What it has seen before, it leaves out by its step.
        self.write(lines)

    def write(self, lines: Iterable[Line]) -> None:
        """One point a step, all splits in it."""
        points: dict[int, dict[str, float]] = {}
        for line in lines:
            names = {f"{line['split']}/{name}": value for name, value in numbers(line).items()}
            points.setdefault(line["step"], {}).update(names)
        for step, point in points.items():
            self._run.log(point, step=step)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()


def open_metric_writer(folder: Path, config: Mapping[str, Any], lines: Sequence[Line]) -> MetricWriter:
    """Their mirror of a run."""
    return WandB(folder, config, lines)
