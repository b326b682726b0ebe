"""A trained model from its run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlstm_jax import models, tasks
from nlstm_jax.errors import CheckpointError
from nlstm_jax.runs import Run, read_run
from nlstm_jax.runs.files import CHECKPOINTS
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.parallel import make_mesh
from nlstm_jax.training.program import Program
from nlstm_jax.training.progress import Progress


@dataclass(frozen=True, eq=False)
class Restored:
    """What a run folder holds, ready to be used.

    Attributes:
        run: the folder as read.
        task: with its data loaded.
        program: compiled functions around the model's graph.
        parameters: at `step`.
        step: of the checkpoint.
    """

    run: Run
    task: Any
    program: Program
    parameters: models.Parameters
    step: int

    @property
    def model(self) -> Any:
        """The model with these parameters."""
        return models.merge(self.program.graph, self.parameters)


def restore(workdir: Path, checkpoint: str = "best") -> Restored:
    """Load a run's data and one of its checkpoints, `best` or `last`.

    Raises:
        DataError: no run folder, or its data are missing.
        CheckpointError: no checkpoint that can be restored.
    """
    run = read_run(workdir)
    config = run.config
    if not (workdir / CHECKPOINTS).is_dir():
        raise CheckpointError(f"{workdir}: a run with a checkpoint expected, found none")
    task = tasks.build(config)
    model = models.build(config, task.sizes)
    optimizer = optimizers.build(config["optimizer"], lambda step: 0.0 * step)
    mesh = make_mesh({})
    program, state = Program.of(model, task, optimizer, config["seeds"]["dropout"], mesh)
    with Checkpoints(workdir / CHECKPOINTS, read_only=True) as checkpoints:
        if not checkpoints.steps:
            raise CheckpointError(f"{workdir}: a run with a checkpoint expected, found none")
        best = Progress.of(run.metrics, config["eval"]["metric"]).best_step
        last = checkpoints.steps[-1]
        step = last if checkpoint == "last" or best is None else best
        parameters = checkpoints.restore(step, state).parameters
    return Restored(run, task, program, parameters, step)
