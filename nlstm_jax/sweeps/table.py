"""Tables and summary lines of a sweep's trials: before it begins, while it runs, and at its end."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nlstm_jax.sweeps.progress import TrialProgress
from nlstm_jax.sweeps.queue import QueuedTrial
from nlstm_jax.sweeps.space import Trial

_COLORS = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "diverged": "yellow",
    "pruned": "blue",
    "waiting": "dim",
}
_STATE_ORDER = ("running", "failed", "diverged", "finished", "pruned", "waiting")
"""The states in the order in which they are listed; the most interesting ones come first."""
_LINES_AROUND = 4
"""The lines of the terminal that are kept free of trials: header, two summary lines, and the cursor's line."""


def planned(trials: Sequence[Trial]) -> Table:
    """Return a table of the trials of a sweep, with the equivalent options of `experiments.train`."""
    table = Table(box=None, header_style="bold")
    table.add_column("", justify="right")
    for title in ("trial", "options of experiments.train"):
        table.add_column(title, overflow="fold")
    for row_number, trial in enumerate(trials, start=1):
        table.add_row(str(row_number), trial.name, trial.command)
    return table


def progress_table(entries: Sequence[QueuedTrial], height: int) -> RenderableType:
    """Return a table of the trials of a running sweep, with a summary line.

    Args:
        entries: All trials.
        height: The number of lines of the terminal. Trials that do not fit are only counted.
    """
    table = Table(box=None, header_style="bold")
    table.add_column("trial")
    table.add_column("state", no_wrap=True)
    for title in ("step", "best valid", "time left"):
        table.add_column(title, justify="right", no_wrap=True)

    ordered = sorted(entries, key=lambda entry: _STATE_ORDER.index(entry.state))
    shown = ordered[: max(height - _LINES_AROUND, 1)]
    for entry in shown:
        progress = entry.progress
        table.add_row(
            entry.trial.name,
            Text(entry.state, _COLORS[entry.state]),
            _format_step(progress),
            _format_best(progress),
            _format_time_left(progress),
        )

    summary = [Text(counted(entries))]
    hidden_count = len(ordered) - len(shown)
    if hidden_count:
        summary.insert(0, Text(f"… and {hidden_count:,} more", "dim"))
    return Group(table, *summary)


def describe_trial(entry: QueuedTrial) -> str:
    """Return one line with the name, the state, the step and the best value of a trial."""
    text = f"{entry.trial.name}: {entry.state}"
    step = _format_step(entry.progress)
    best = _format_best(entry.progress)
    if step:
        text += f" at step {step}"
        if best:
            text += f", best valid {best}"
    return text


def describe_failure(entry: QueuedTrial, logs: Path) -> str:
    """Return the reason why a trial failed: what is wrong with its run folder, else the last lines of its log.

    Args:
        entry: A failed trial.
        logs: The folder of the logs.
    """
    if entry.damage:
        return f"{entry.trial.name}: its run folder is damaged: {entry.damage}"
    return f"{entry.trial.name}: its log in {logs} ends with\n{entry.said}"


def counted(entries: Sequence[QueuedTrial]) -> str:
    """Return the number of trials in every state as a line of text."""
    counts = Counter(entry.state for entry in entries)
    return ", ".join(f"{counts[state]:,} {state}" for state in _STATE_ORDER if counts[state])


def overhead(entries: Sequence[QueuedTrial]) -> str:
    """Return a sentence on the median time of a finished trial that was not spent on training, such as start-up.

    The text is empty if nothing was trained. Trials that were trained in one process have no such time of their own.
    """
    extra_seconds = [
        entry.seconds - entry.progress.seconds for entry in entries if entry.seconds and entry.state == "finished"
    ]
    # A process that trains several trials is shared among them, so each has less than its training took.
    if not extra_seconds or min(extra_seconds) < 0:
        return ""
    return f"a trial took {np.median(extra_seconds):.1f} s beside its training (median of {len(extra_seconds)})"


def _format_step(progress: TrialProgress) -> str:
    """Return the step of the last evaluation as text, empty before the first one."""
    return f"{progress.step:,}" if progress.step else ""


def _format_best(progress: TrialProgress) -> str:
    """Return the best value as text, empty if there is none."""
    return "" if progress.best is None else f"{progress.best:.4f}"


def _format_time_left(progress: TrialProgress) -> str:
    """Return the estimated time left as hours, minutes and seconds, empty if there is no estimate."""
    if progress.seconds_left is None:
        return ""
    return str(timedelta(seconds=round(progress.seconds_left)))
