"""How far a trial is, by its run folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlstm_jax.runs import Run, higher_is_better, read_run
from nlstm_jax.runs.files import CONFIG

ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class TrialProgress:
    """What a run folder says.

    Attributes:
        status: of the summary; None while there is none.
        step: of the last evaluation.
        best: the best value of the metric that the run is judged by, on the validation split.
        values: all values of it, by step.
        seconds_left: None where nothing is known.
        seconds: of training, evaluation and checkpoints.
    """

    status: str | None = None
    step: int = 0
    best: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)
    seconds_left: float | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.status in ENDED


def progress_of(folder: Path) -> TrialProgress:
    """Read it.

    Raises:
        DataError: files that are not a run's.
    """
    if not (folder / CONFIG).exists():
        return TrialProgress()
    run = read_run(folder)
    lines = [line for line in run.metrics if line.get("split") == "valid"]
    metric = run.config["eval"]["metric"]
    values = {line["step"]: line[metric] for line in lines if metric in line}
    choose = max if higher_is_better(metric) else min
    status = run.summary["status"] if run.summary else None
    if not run.metrics:
        return TrialProgress(status)
    last = run.metrics[-1]
    left = None if status in ENDED else _seconds_left(run, last)
    best = choose(values.values(), default=None)
    return TrialProgress(status, last["step"], best, values, left, last.get("wall_seconds", 0.0))


def _seconds_left(run: Run, last: dict[str, Any]) -> float | None:
    """By the time so far; a run may end earlier."""
    train = run.config["train"]
    done = last["step"] / train["steps"] if train["steps"] else last["epoch"] / train["epochs"]
    return last["wall_seconds"] * (1 / done - 1) if done and "wall_seconds" in last else None
