"""The loop over time of a run: chosen at its start, recorded, and the same when the run goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlstm_jax import models
from nlstm_jax.errors import ConfigError, DamagedCheckpointError
from nlstm_jax.models import LoopChoice
from nlstm_jax.runs import read_environment
from nlstm_jax.runs.files import CHECKPOINTS
from nlstm_jax.training import hosts
from nlstm_jax.training.manifest import Manifest
from nlstm_jax.types import Config


def recorded_loop(workdir: Path, config: Config) -> str | None:
    """Return the loop with which a run goes on: that of its newest checkpoint, or of its last start.

    A run of an earlier version has recorded none. Its loop was the fused one unless the configuration names another.

    Returns:
        The name of the loop; None if there is no run.
    """
    environment = read_environment(workdir)
    if not environment:
        return None
    folders = [path for path in (workdir / CHECKPOINTS).glob("*") if path.name.isdecimal()]
    for folder in sorted(folders, key=lambda path: int(path.name), reverse=True):
        try:
            loop = Manifest.read(folder).loop
        except DamagedCheckpointError:
            continue
        if loop is not None:
            return loop
    mode: str = config["unroll"]["mode"]
    earlier = "fused" if mode == "auto" else mode
    return str(environment.get("loop", earlier))


def choose_loop(
    config: Config, models_of_runs: Sequence[Any], recorded: str | None, *, one_device: bool
) -> LoopChoice:
    """Choose the loop of runs that are trained together, and have their models run in it.

    Args:
        config: The configuration of one of the runs.
        models_of_runs: The model of each run.
        recorded: What `recorded_loop` has returned for the first run; None for a new run.
        one_device: True if no batch is split and no runs are stacked in one program.

    Returns:
        The loop. If the recorded one cannot be used, the note is the reason.
    """
    mode = config["unroll"]["mode"]
    if mode != "auto":
        return LoopChoice(mode)
    choice = LoopChoice(recorded) if recorded else models.fastest_loop(one_device=one_device)
    note = choice.note
    for name in dict.fromkeys((choice.name, "fused", "scan")):
        reason = _set_loop(models_of_runs, name)
        if not reason:
            return LoopChoice(name, note)
        if recorded and not note:
            note = reason
    raise ConfigError(reason)


def explain_loop(recorded: str | None, choice: LoopChoice) -> list[str]:
    """Return the line about the loop of a run, if there is something to say.

    Args:
        recorded: What `recorded_loop` returns; None for a new run.
        choice: What `choose_loop` returned.
    """
    if recorded is None or recorded == choice.name:
        return [choice.note] if choice.note else []
    because = f" ({choice.note})" if choice.note else ""
    return [f"going on with the loop {choice.name}, begun with {recorded}: last digits can differ{because}"]


def _set_loop(models_of_runs: Sequence[Any], loop: str) -> str:
    """Have models run in a loop. Returns the reason why one of them cannot, in any process; empty if all can."""
    reason = ""
    try:
        for model in models_of_runs:
            models.set_loop(model, loop)
    except ConfigError as error:
        reason = str(error)
    return next(filter(None, hosts.gather(reason)), "")
