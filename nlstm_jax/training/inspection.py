"""A check of a run folder that trains nothing and writes nothing."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from nlstm_jax import settings
from nlstm_jax.errors import CheckpointError, ConfigError, DamagedCheckpointError, DataError, UserError
from nlstm_jax.runs import Run, is_locked, read_run
from nlstm_jax.runs.files import CHECKPOINTS, METRICS
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.question import check_same_version
from nlstm_jax.types import JsonObject
from nlstm_jax.wording import count_of


class Inspection(NamedTuple):
    """The result of a check.

    Attributes:
        lines: What the folder holds, one line each.
        error: The first error that keeps the run from being used; None if there is none.
    """

    lines: list[str]
    error: UserError | None


def inspect_run(workdir: Path) -> Inspection:
    """Check the files of a run, the order of its lines of metrics, and the digests of its checkpoints.

    The data are not read.

    Args:
        workdir: The run folder.

    Raises:
        DataError: The folder is no run, or a file of it is damaged.
    """
    run = read_run(workdir, settings.with_defaults)
    lines = [_describe(run)]
    error: UserError | None = None
    try:
        settings.check(run.config)
        check_same_version(workdir, run.environment, run.config)
    except ConfigError as mistake:
        error = mistake

    lines.append(f"{METRICS}: {count_of(len(run.metrics), 'line')}{_last_step(run.metrics)}")
    disorder = _first_disorder(run.metrics)
    if disorder is not None:
        error = error or DataError(f"{workdir / METRICS}: {disorder}")

    checkpoint_lines, checkpoint_error = _inspect_checkpoints(workdir / CHECKPOINTS, run.metrics)
    return Inspection(lines + checkpoint_lines, error or checkpoint_error)


def _describe(run: Run) -> str:
    """Return the task, the cell and the status of a run."""
    status = "stopped without a summary"
    if is_locked(run.path):
        status = "being trained"
    elif run.summary is not None:
        status = f"{run.summary.get('status', 'ended')} at step {run.summary.get('steps', 0):,}"
    return f"{run.path}: {run.config['task']} with the cell {run.config['cell']['name']}, {status}"


def _last_step(rows: Sequence[JsonObject]) -> str:
    return f", the last of step {rows[-1]['step']:,}" if rows else ""


def _first_disorder(rows: Sequence[JsonObject]) -> str | None:
    """Return the first line that repeats an earlier one or goes back; None if there is none."""
    counts = Counter((row["step"], row.get("split"), row.get("diverged", False)) for row in rows)
    for (step, split, _), count in counts.items():
        if count > 1:
            return f"one line for each step and split expected, found {count} of step {step} and split {split}"
    for line_number, (row, following) in enumerate(pairwise(rows), start=2):
        if following["step"] < row["step"]:
            return f"ascending steps expected, found {following['step']} after {row['step']} in line {line_number}"
    return None


def _inspect_checkpoints(folder: Path, rows: Sequence[JsonObject]) -> tuple[list[str], CheckpointError | None]:
    """Return one line for each checkpoint, and an error if there are some but none is whole."""
    if not folder.is_dir():
        return ["checkpoints: none"], None
    lines = []
    damages = []
    names = sorted(path.name for path in folder.glob("set_aside-*"))
    lines += [f"checkpoint {name}: damaged, set aside earlier" for name in names]
    row_steps = [row["step"] for row in rows]
    with Checkpoints(folder, read_only=True) as checkpoints:
        steps = checkpoints.steps
        for step in steps:
            try:
                lines.append(f"checkpoint {step}: {checkpoints.verify(step, row_steps)}")
            except DamagedCheckpointError as error:
                damages.append(error)
                lines.append(f"checkpoint {step}: damaged: {error}")
    if len(damages) == len(steps) and (damages or names):
        return lines, CheckpointError(f"{folder}: a whole checkpoint expected, found none")
    return lines or ["checkpoints: none"], None
