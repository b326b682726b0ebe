"""A trained model from its run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import CheckpointError
from nlstm_jax.runs import Run, read_run
from nlstm_jax.runs.files import CHECKPOINTS
from nlstm_jax.tasks import WeightedSum
from nlstm_jax.training.best import BestSoFar
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.evaluation import evaluate, train_count
from nlstm_jax.training.nonfinite import skip_limit
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.question import check_same_data, check_same_version
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps
from nlstm_jax.training.unroll_loop import choose_loop, recorded_loop

_ATTEMPTS = 5
"""The number of checkpoints that are tried while a run that is being trained replaces them."""


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run folder with its data and the parameters of one checkpoint, ready to be used.

    Attributes:
        run: The folder as read.
        task: The task, with its data.
        steps: The compiled functions around the graph of the model.
        parameters: The parameters at `step`.
        step: The step of the checkpoint.
    """

    run: Run
    task: tasks.AnyTask
    steps: CompiledSteps
    parameters: models.Parameters
    step: int

    @property
    def model(self) -> Any:
        """The model with these parameters."""
        return models.merge(self.steps.graph, self.parameters)

    def evaluate(self, split: str) -> dict[str, float]:
        """Return the task's metrics over a whole split, as training reports them.

        Raises:
            ConfigError: The question of the task has changed its meaning since the run.
        """
        check_same_version(self.run.path, self.run.environment, self.run.config)
        options = self.run.config["eval"]
        examples = {name: replicate(self.task.splits[name], self.steps.mesh) for name in ("train", split)}
        counts = train_count(self.task, options["train_examples"]) if split != "train" else {}
        (report,) = evaluate(self.steps, self.parameters, examples, options["batch_size"], counts)
        return report[split]

    def per_example_sums(self, split: str) -> dict[str, WeightedSum]:
        """Return what every example of a split adds to the task's sums, arrays [N]."""
        examples = replicate(self.task.splits[split], self.steps.mesh)
        return self.steps.per_example_sums(self.parameters, examples, self.run.config["eval"]["batch_size"])


def restore(workdir: Path | str, checkpoint: str = "best") -> LoadedRun:
    """Load a run's data and one of its checkpoints.

    Args:
        workdir: The run folder.
        checkpoint: `best` or `last`.

    Raises:
        DataError: no run folder, or its data are missing or have changed since.
        CheckpointError: no checkpoint that can be restored.
    """
    workdir = Path(workdir)
    run = read_run(workdir)
    config = settings.with_defaults(run.config)
    loop = recorded_loop(workdir, config)
    # All loops compute the same to rounding, and the one that the run was trained with may not be available here.
    config["unroll"]["mode"] = "auto"
    if not (workdir / CHECKPOINTS).is_dir():
        raise CheckpointError(f"{workdir}: a run with a checkpoint expected, found none")

    task = tasks.build(config)
    check_same_data(workdir, run.environment, task)
    model = models.build(config, task.model_dims)
    choose_loop(config, [model], loop, one_device=True)
    schedule = TrainingSchedule.from_config(config, task.splits["train"].size)
    optimizer = OptimizerFactory.from_config(config, schedule)
    steps = CompiledSteps.from_model(model, task, optimizer, make_mesh({}), skip_limit=skip_limit(config))
    state = steps.init_state(model, traced_hparams(config), config["train"]["batch_size"])
    with Checkpoints(workdir / CHECKPOINTS, read_only=True) as checkpoints:
        for attempt in range(1, _ATTEMPTS + 1):
            run = read_run(workdir)
            step = _choose_step(run, checkpoints.steps, checkpoint)
            try:
                parameters = checkpoints.restore(step, state).parameters
                break
            except CheckpointError:
                # A run that is being trained may have replaced this checkpoint by a newer one.
                if step in checkpoints.steps or attempt == _ATTEMPTS:
                    raise
    return LoadedRun(run, task, steps, parameters, step)


def _choose_step(run: Run, steps: Sequence[int], checkpoint: str) -> int:
    """Return the step of the best or the last checkpoint.

    While a run is being trained, lines of metrics are written before the checkpoint they belong to; the best step is
    then the best of those until the newest checkpoint.

    Args:
        run: The run folder as read.
        steps: The steps that have a checkpoint, ascending.
        checkpoint: `best` or `last`.

    Raises:
        CheckpointError: there is no checkpoint.
    """
    if not steps:
        raise CheckpointError(f"{run.path}: a run with a checkpoint expected, found none")
    summary = run.summary or {}
    # A diverged run has no checkpoint of its last step.
    has_last = summary.get("status") in ("finished", "interrupted")
    last_step: int = summary["steps"] if has_last else steps[-1]
    rows = run.metrics
    if run.summary is None:
        rows = [row for row in rows if row["step"] <= last_step]
    metric = settings.find_metric(run.config, run.config["eval"]["metric"])
    best_step = BestSoFar.from_rows(rows, metric.name, higher_is_better=metric.higher_is_better).best_step
    # Every step of an online pass is an evaluation, and few of them have a checkpoint.
    if checkpoint == "last" or best_step is None or run.config["train"].get("online"):
        return last_step
    return best_step
