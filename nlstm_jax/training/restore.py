"""A trained model from its run folder."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table as RichTable

from nlstm_jax import models, settings, tasks
from nlstm_jax.errors import CheckpointError, ConfigError
from nlstm_jax.runs import Run, check_test_look, find_runs, read_run, record_test_look
from nlstm_jax.runs.files import CHECKPOINTS
from nlstm_jax.runs.table import Table, describe_run, tabulate
from nlstm_jax.tasks import WeightedSum
from nlstm_jax.tasks.abilities import Forecasts, Predicts, Samples, missing_ability
from nlstm_jax.tasks.sampling import SampleRequest
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
from nlstm_jax.types import Float, JsonObject

_ATTEMPTS = 5
"""The number of checkpoints that are tried while a run that is being trained replaces them."""


class _Checkpoint(NamedTuple):
    """The data of a run and the parameters of one checkpoint.

    Attributes:
        run: The run folder as it was when the checkpoint was read.
        task: The task, with its data.
        steps: The compiled functions around the graph of the model.
        params: The parameters.
        step: The step of the checkpoint.
    """

    run: Run
    task: tasks.AnyTask
    steps: CompiledSteps
    params: models.Parameters
    step: int


class LoadedRun:
    """A run folder, with its configuration, its metrics, and the model of one of its checkpoints.

    The files of the run are read at once. Its data and the checkpoint are read when one of the attributes `task`,
    `params`, `model` and `step`, or a method, first needs them. They raise these errors:

        DataError: The data are missing or have changed since the run.
        CheckpointError: There is no checkpoint that can be restored.

    Attributes:
        path: The run folder.
    """

    def __init__(self, workdir: Path | str, checkpoint: str = "best") -> None:
        """Read the files of a run folder. See `load_run`."""
        if checkpoint not in ("best", "last"):
            raise ConfigError(f"checkpoint: best or last expected, found {checkpoint!r}")
        self.path = Path(workdir).expanduser()
        self._checkpoint_name = checkpoint
        self._run = read_run(self.path, settings.with_defaults)
        self._has_counted_look = False

    def __repr__(self) -> str:
        return f"LoadedRun({str(self.path)!r}, task={self.config['task']!r}, cell={self.config['cell']['name']!r})"

    @property
    def config(self) -> JsonObject:
        """The configuration, with the defaults of settings that are newer than the run."""
        return self._run.config

    @property
    def environment(self) -> JsonObject:
        """The contents of `environment.json`."""
        return self._run.environment

    @property
    def summary(self) -> JsonObject | None:
        """The contents of `summary.json`. None while the run is being trained, and after a crash."""
        return self._run.summary

    @cached_property
    def metrics(self) -> Table:
        """The lines of `metrics.jsonl`: a `pandas.DataFrame`, or a dict of arrays if pandas is not installed."""
        return tabulate(self._run.metrics)

    @property
    def task(self) -> tasks.AnyTask:
        """The task, with its data."""
        return self._checkpoint.task

    @property
    def params(self) -> models.Parameters:
        """The parameter arrays by their path in the model, such as `cell/params/w_h`."""
        return self._checkpoint.params

    @property
    def step(self) -> int:
        """The step of the checkpoint."""
        return self._checkpoint.step

    @cached_property
    def model(self) -> Any:
        """The trained model, a Flax NNX module of the task."""
        return models.merge(self._checkpoint.steps.graph, self.params)

    def evaluate(self, split: str = "valid") -> dict[str, float]:
        """Return the task's metrics over a whole split, as training reports them.

        An evaluation on the test split is counted in `summary.json`, and its metrics are kept there.

        Args:
            split: `train`, `valid` or `test`.

        Raises:
            ConfigError: The task has no such split, or its question has changed its meaning since the run. Or the
                split is `test`, and the run has not ended.
            StorageError: A look at the test split cannot be counted.
        """
        self._check_split(split)
        check_same_version(self.path, self.environment, self.config)
        options = self.config["eval"]
        steps = self._checkpoint.steps
        examples = {name: replicate(self.task.splits[name], steps.mesh) for name in ("train", split)}
        counts = train_count(self.task, options["train_examples"]) if split != "train" else {}
        (report,) = evaluate(steps, self.params, examples, options["batch_size"], counts)
        if split == "test":
            # Nothing is returned that has not been counted.
            record_test_look(self.path, report[split], self.step)
            self._run = read_run(self.path, settings.with_defaults)
            self._has_counted_look = True
        return report[split]

    def per_example_sums(self, split: str = "valid") -> dict[str, WeightedSum]:
        """Return what every example of a split adds to the task's sums, arrays [N].

        The test split is evaluated first if this has not been done, so that the look is counted.

        Args:
            split: `train`, `valid` or `test`.

        Raises:
            ConfigError: See `evaluate`.
            StorageError: See `evaluate`.
        """
        self._check_split(split)
        if split == "test" and not self._has_counted_look:
            self.evaluate(split)
        steps = self._checkpoint.steps
        examples = replicate(self.task.splits[split], steps.mesh)
        return steps.per_example_sums(self.params, examples, self.config["eval"]["batch_size"])

    def sample(
        self,
        *,
        count: int = 1,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        prompt: str = "",
        length: int = 60,
    ) -> str | RichTable:
        """Draw samples. The same arguments give the same samples.

        Args:
            count: The number of samples.
            seed: The seed of the draw.
            temperature: The number that the logits are divided by. 0 takes the most probable symbol.
            top_k: The number of most probable symbols to draw from. 0 means all.
            prompt: The text that every sample begins with.
            length: The number of symbols after the prompt, where the task does not decide it.

        Returns:
            Poems or passages as text. For an echo run, a table of what was given and what was echoed.

        Raises:
            ConfigError: The task cannot be sampled, or an argument is out of bounds or not of the task's form.
        """
        if not isinstance(self.task, Samples):
            raise self._missing_ability("sample")
        request = SampleRequest(count, seed, temperature, top_k, prompt, length)
        return self.task.sample(self.model, request)

    def predict(self, inputs: Sequence[str] | None = None, names: Sequence[str] = ()) -> Float[np.ndarray, "..."]:
        """Return what the model predicts of new inputs.

        Args:
            inputs: The inputs. A classification run takes sequences, each as symbols with blanks between them. A run
                of poems or text takes texts. A sales run takes none; it predicts the pairs of `test.csv`. A stocks run
                takes none; it forecasts from the last day of its data.
            names: The name of each input in error messages. The default is its number, from 1.

        Returns:
            float32. Of a classification run, the probability of each class in `run.task.classes`, [N, K]. Of a run of
            poems or text, the log-probability of each text in nats, [N]. Of a sales run, the expected count of each
            pair, [N]. Of a stocks run, the change of the close over the horizon, [1].

        Raises:
            ConfigError: The task predicts nothing, or the inputs are not of its form.
            DataError: An input has a symbol that the training data lack, or the data have no `test.csv`.
        """
        if not isinstance(self.task, Predicts):
            raise self._missing_ability("predict")
        return self.task.predict(self.model, inputs, names)

    def forecast(self, out: Path) -> tuple[RichTable, str]:
        """Write the forecasts to a file. See `tasks.abilities.Forecasts`.

        Raises:
            ConfigError: The task has no forecasts to write.
            DataError: The data lack what the forecast is for.
        """
        if not isinstance(self.task, Forecasts):
            raise self._missing_ability("forecast")
        return self.task.forecast(self.model, out)

    @cached_property
    def _checkpoint(self) -> _Checkpoint:
        """The data and the checkpoint, read at first use."""
        checkpoint = _restore(self.path, self._checkpoint_name)
        # A run that is being trained has moved on since its files were read.
        self._run = checkpoint.run
        return checkpoint

    def _check_split(self, split: str) -> None:
        """Raise a ConfigError for a split that the task lacks, or a test split that may not be looked at."""
        if split not in self.task.splits:
            raise ConfigError(f"split: one of {', '.join(self.task.splits)} expected, found {split}")
        if split == "test":
            check_test_look(self._run)

    def _missing_ability(self, method: str) -> ConfigError:
        """Return the error about a task without a method."""
        return missing_ability(method, f"{self.path}: a run", self.config["task"])


def load_run(workdir: Path | str, checkpoint: str = "best") -> LoadedRun:
    """Load a run folder. Its data and the checkpoint are read when they are first needed.

    Args:
        workdir: The run folder.
        checkpoint: The checkpoint of the model, `best` or `last`.

    Raises:
        ConfigError: The checkpoint is neither.
        DataError: The folder is no run folder, or one of its files is damaged.
    """
    return LoadedRun(workdir, checkpoint)


def load_runs(*names: Path | str) -> Table:
    """Return a table with one row per run: its path, status, metrics at the best step, and every setting.

    `runs.table.describe_run` lists the columns. Runs are found as by `experiments.compare`. There is a warning for
    every path that is skipped because it is no run, or a damaged one.

    Args:
        names: Run folders and patterns, such as `runs/*`.

    Returns:
        A `pandas.DataFrame`, or a dict of arrays if pandas is not installed.

    Raises:
        ConfigError: There are no names, one of them is neither text nor a path, or a pattern matches no run.
        DataError: A named folder is not a run, or none of the runs can be read.
    """
    for name in names:
        if not isinstance(name, str | Path):
            raise ConfigError(
                f"load_runs: each argument a folder or a pattern expected, found a {type(name).__name__}"
            )
    runs, notes = find_runs([str(name) for name in names], settings.with_defaults)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return tabulate([describe_run(run) for run in runs])


def _restore(workdir: Path, checkpoint: str) -> _Checkpoint:
    """Load a run's data and one of its checkpoints.

    Args:
        workdir: The run folder.
        checkpoint: `best` or `last`.

    Raises:
        DataError: no run folder, or its data are missing or have changed since.
        CheckpointError: no checkpoint that can be restored.
    """
    run = read_run(workdir, settings.with_defaults)
    loop = recorded_loop(workdir, run.config)
    # All loops compute the same to rounding, and the one that the run was trained with may not be available here.
    config = {**run.config, "unroll": {**run.config["unroll"], "mode": "auto"}}
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
            run = read_run(workdir, settings.with_defaults)
            step = _choose_step(run, checkpoints.steps, checkpoint)
            try:
                params = checkpoints.restore(step, state).parameters
                break
            except CheckpointError:
                # A run that is being trained may have replaced this checkpoint by a newer one.
                if step in checkpoints.steps or attempt == _ATTEMPTS:
                    raise
    return _Checkpoint(run, task, steps, params, step)


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
