"""The progress of a trial, read from its run folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nlstm_jax.errors import DataError
from nlstm_jax.runs import Run, flatten, read_run
from nlstm_jax.runs.files import CONFIG
from nlstm_jax.types import JsonObject

_USED_SETTINGS = ("eval.metric", "train.steps", "train.epochs")
ENDED = ("finished", "diverged")
"""The statuses of a run that has ended."""


@dataclass(frozen=True)
class TrialProgress:
    """The progress of a trial according to its run folder.

    Attributes:
        status: The status in the summary. None while there is no summary.
        step: The step of the last evaluation.
        best: The best value so far of the metric that the run is judged by, on the validation split.
        values: All values of this metric on the validation split, by step.
        seconds_left: The estimated seconds until the end of training. None if there is no estimate.
        seconds: The seconds so far of training, evaluation and checkpoints.
    """

    status: str | None = None
    step: int = 0
    best: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)
    seconds_left: float | None = None
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        """True if the run has finished or diverged."""
        return self.status in ENDED


def read_progress(folder: Path) -> TrialProgress:
    """Read the progress of a trial from its run folder.

    Raises:
        DataError: A file is damaged, see `read_run`, or the configuration lacks a setting.
    """
    if not (folder / CONFIG).exists():
        return TrialProgress()
    run = read_run(folder)
    settings = flatten(run.config)
    for name in _USED_SETTINGS:
        if name not in settings:
            raise DataError(f"{folder / CONFIG}: the setting {name} expected, found none")
    return _progress_of(run)


def _progress_of(run: Run) -> TrialProgress:
    """Return the progress of a run."""
    status = run.summary.get("status") if run.summary else None
    if not run.metrics:
        return TrialProgress(status)

    metric = run.config["eval"]["metric"]
    values = run.curve("valid", metric)
    best_of = max if run.higher_is_better(metric) else min
    best = best_of(values.values(), default=None)

    last_line = run.metrics[-1]
    seconds_left = None
    if status not in ENDED:
        seconds_left = _estimate_seconds_left(run, last_line)
    return TrialProgress(status, last_line["step"], best, values, seconds_left, last_line.get("wall_seconds", 0.0))


def _estimate_seconds_left(run: Run, last_line: JsonObject) -> float | None:
    """Estimate the seconds left from the time that the run has taken so far. The run may stop earlier.

    Args:
        run: The run.
        last_line: The last line of its metrics.

    Returns:
        The estimate, or None if no part of the training is done or no time was recorded.
    """
    fraction_done = _fraction_done(run.config["train"], last_line)
    if not fraction_done or "wall_seconds" not in last_line:
        return None
    seconds_left: float = last_line["wall_seconds"] * (1 / fraction_done - 1)
    return seconds_left


def _fraction_done(train: JsonObject, line: JsonObject) -> float:
    """Return the fraction of the training that is done, by steps if their number is set, else by epochs.

    Args:
        train: The section `train` of the configuration.
        line: The last line of the metrics.
    """
    if train["steps"]:
        return float(line["step"] / train["steps"])
    return float(line.get("epoch", 0.0) / train["epochs"])
