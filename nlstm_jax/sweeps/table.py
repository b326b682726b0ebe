"""The trials of a sweep as a table: before it begins, while it goes on, and at its end."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nlstm_jax.sweeps.queue import QueuedTrial
from nlstm_jax.sweeps.space import Trial

_COLOURS = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "diverged": "yellow",
    "pruned": "blue",
    "waiting": "dim",
}
_FIRST = ("running", "failed", "diverged", "finished", "pruned", "waiting")


def planned(trials: Sequence[Trial]) -> Table:
    """What would be tried: the options that mean the same for `experiments.train`."""
    table = Table(box=None, header_style="bold")
    table.add_column("", justify="right")
    for title in ("trial", "options of experiments.train"):
        table.add_column(title, overflow="fold")
    for number, trial in enumerate(trials, start=1):
        table.add_row(str(number), trial.name, trial.command)
    return table


def going(entries: Sequence[QueuedTrial], height: int) -> RenderableType:
    """All trials that so many lines hold, those first that one wants to see, and a line on all."""
    table = Table(box=None, header_style="bold")
    for title in ("trial", "state", "step", "best valid", "time left"):
        table.add_column(title, justify="left" if title in ("trial", "state") else "right", no_wrap=title != "trial")
    ordered = sorted(entries, key=lambda entry: _FIRST.index(entry.state))
    shown = ordered[: max(height - 4, 1)]
    for entry in shown:
        table.add_row(entry.trial.name, Text(entry.state, _COLOURS[entry.state]), *_numbers(entry))
    hidden = len(ordered) - len(shown)
    rest = [Text(f"… and {hidden:,} more", "dim")] if hidden else []
    return Group(table, *rest, Text(counted(entries)))


def line(entry: QueuedTrial) -> str:
    """One trial in a line."""
    step, best, _ = _numbers(entry)
    reached = f" at step {step}" + (f", best valid {best}" if best else "") if step else ""
    return f"{entry.trial.name}: {entry.state}{reached}"


def counted(entries: Sequence[QueuedTrial]) -> str:
    """How many are in which state."""
    counts = Counter(entry.state for entry in entries)
    return ", ".join(f"{counts[state]:,} {state}" for state in _FIRST if counts[state])


def overhead(entries: Sequence[QueuedTrial]) -> str:
    """What a trial took beside its training; empty where nothing was trained."""
    taken = [
        entry.seconds - entry.progress.seconds for entry in entries if entry.seconds and entry.state == "finished"
    ]
    return f"a trial took {np.median(taken):.1f} s beside its training (median of {len(taken)})" if taken else ""


def _numbers(entry: QueuedTrial) -> tuple[str, str, str]:
    progress = entry.progress
    left = "" if progress.seconds_left is None else str(timedelta(seconds=round(progress.seconds_left)))
    best = "" if progress.best is None else f"{progress.best:.4f}"
    return f"{progress.step:,}" if progress.step else "", best, left
