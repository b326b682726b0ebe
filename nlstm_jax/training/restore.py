"""A trained model from its run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import CheckpointError, DataError
from nlstm_jax.runs import Run, read_run
from nlstm_jax.runs.files import CHECKPOINTS
from nlstm_jax.tasks import WeightedSum
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.best import BestSoFar
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.evaluation import evaluate
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.steps import CompiledSteps


@dataclass(frozen=True, eq=False)
class LoadedRun:
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
    program: CompiledSteps
    parameters: models.Parameters
    step: int

    @property
    def model(self) -> Any:
        """The model with these parameters."""
        return models.merge(self.program.graph, self.parameters)

    def evaluate(self, split: str) -> dict[str, float]:
        """The task's metrics over a whole split, as training reports them."""
        options = self.run.config["eval"]
        examples = {name: replicate(self.task.splits[name], self.program.mesh) for name in ("train", split)}
        counts = {"train": options["train_examples"]} if split != "train" else {}
        return evaluate(self.program, self.parameters, examples, options["batch_size"], counts)[0][split]

    def measure_each(self, split: str) -> dict[str, WeightedSum]:
        """What every example of a split adds to the task's sums, arrays of N."""
        examples = replicate(self.task.splits[split], self.program.mesh)
        return self.program.measure_each(self.parameters, examples, self.run.config["eval"]["batch_size"])


def restore(workdir: Path, checkpoint: str = "best") -> LoadedRun:
    """Load a run's data and one of its checkpoints, `best` or `last`.

    Raises:
        DataError: no run folder, or its data are missing or have changed since.
        CheckpointError: no checkpoint that can be restored.
    """
    run = read_run(workdir)
    config = settings.with_defaults(run.config)
    # All loops compute the same, and the one that it was trained with may not be had here.
    config["unroll"]["mode"] = "auto"
    if not (workdir / CHECKPOINTS).is_dir():
        raise CheckpointError(f"{workdir}: a run with a checkpoint expected, found none")
    task = tasks.build(config)
    trained_on = run.environment.get("data", {}).get("checksums", {})
    found = task.facts["checksums"]
    for name in trained_on:
        if found.get(name) != trained_on[name]:
            raise DataError(
                f"{workdir}: the data have changed since the run: {name} of sha256 {trained_on[name]} expected, found "
                f"{found.get(name)}"
            )
    model = models.build(config, task.sizes)
    rule = optimizers.build(config["optimizer"], lambda step: 0.0 * step, config["penalty"])
    program = CompiledSteps.of(model, task, lambda numbers: rule, make_mesh({}))
    state = program.start(model, {}, config["train"]["batch_size"])
    with Checkpoints(workdir / CHECKPOINTS, read_only=True) as checkpoints:
        if not checkpoints.steps:
            raise CheckpointError(f"{workdir}: a run with a checkpoint expected, found none")
        best = BestSoFar.of(run.metrics, config["eval"]["metric"]).best_step
        last = checkpoints.steps[-1]
        step = last if checkpoint == "last" or best is None or config["train"].get("online") else best
        parameters = checkpoints.restore(step, state).parameters
    return LoadedRun(run, task, program, parameters, step)
