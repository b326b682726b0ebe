"""The record of a run: its metric rows, checkpoints and summary, on disk and for the rest of the loop."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Self

from rich.console import Console

from nlstm_jax import settings
from nlstm_jax.models import LoopChoice
from nlstm_jax.runs import RunFolder, read_environment
from nlstm_jax.tasks import AnyTask
from nlstm_jax.training import hosts
from nlstm_jax.training.changes import explain_environment
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.logger import RunLogger, count_cell_parameters
from nlstm_jax.training.own_code import describe_own_code, explain_changes
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import TrainState
from nlstm_jax.training.unroll_loop import explain_loop, recorded_loop
from nlstm_jax.types import Config, JsonObject

Row = JsonObject
"""One line of `metrics.jsonl`."""


class RunRecord:
    """The record that one run leaves in its folder.

    Attributes:
        config: The configuration of the run.
        task: The task, with its data.
        schedule: The steps and evaluations.
        folder: The run folder.
        checkpoints: The checkpoints of the run.
        logger: The log of the run.
        loop: The loop over time that trains the run, and what is to be said about it.
        rows: The metric rows so far, ascending by step.
        summary: The summary that the run ended with; None while it goes on.
    """

    def __init__(
        self,
        config: Config,
        task: AnyTask,
        schedule: TrainingSchedule,
        folder: RunFolder,
        checkpoints: Checkpoints,
        logger: RunLogger,
        loop: LoopChoice,
    ) -> None:
        """Take up what the record consists of; nothing is read or written yet."""
        self.config = config
        self.task = task
        self.schedule = schedule
        self.folder = folder
        self.checkpoints = checkpoints
        self.logger = logger
        self.loop = loop
        self.rows: list[Row] = []
        self.summary: JsonObject | None = None
        self._started = time.monotonic()

    @classmethod
    @contextmanager
    def in_folder(
        cls,
        workdir: Path,
        config: Config,
        task: AnyTask,
        loop: LoopChoice,
        *,
        overwrite: bool,
        console: Console,
        metric_writers: Sequence[str],
    ) -> Iterator[Self]:
        """Hold a run folder with its checkpoints and its log while a run is trained, and yield its record.

        Args:
            workdir: The run folder.
            config: The configuration of the run.
            task: The task, with its data.
            loop: See `unroll_loop.choose_loop`.
            overwrite, console, metric_writers: See `fit.fit`.

        Raises:
            ConfigError, RunFinishedError, RunFolderInUseError: See `RunFolder`.
        """
        schedule = TrainingSchedule.from_config(config, task.splits["train"].size)
        with (
            RunFolder(
                workdir,
                config,
                overwrite=overwrite,
                with_defaults=settings.with_defaults,
                metric_writers=metric_writers,
            ) as folder,
            Checkpoints(folder.checkpoints) as checkpoints,
            RunLogger(folder.log, console) as logger,
        ):
            yield cls(config, task, schedule, folder, checkpoints, logger, loop)

    def open(self, state: TrainState, environment: JsonObject) -> tuple[int, TrainState]:
        """Write the environment, and find out where the run stands.

        The newest checkpoint that is whole and has its rows is taken, see `Checkpoints.restore_newest`. Rows past it
        are dropped: the run trains from there, and writes them anew. Of several processes the first reads them, and
        tells the others.

        Args:
            state: The state before the first step.
            environment: The document `environment.json`, to which the metrics and the question of the task are added.

        Returns:
            The step of that checkpoint, or 0, and the state after it.

        Raises:
            CheckpointError: there are checkpoints, and none of them is whole.
        """
        checksums = self.task.metadata["checksums"]
        own_code = describe_own_code(self.config)
        recorded = read_environment(self.folder.path)
        changes = explain_changes(recorded.get("own_code", {}), own_code)
        changes += explain_environment(recorded, environment, self.config)
        changes += explain_loop(recorded_loop(self.folder.path, self.config), self.loop)
        declared = {
            "loop": self.loop.name,
            "own_code": own_code,
            "metrics": settings.describe_metrics(self.config),
            "question": settings.describe_question(self.config, checksums),
        }
        self.folder.write_environment({**environment, **declared})
        row_steps = [row["step"] for row in self.folder.read_metrics()]
        step, state, notes = self.checkpoints.restore_newest(state, row_steps)
        self.rows = hosts.gather(self.folder.truncate_metrics(step))[0]
        self.folder.mark_running()
        earlier_seconds = self.rows[-1]["wall_seconds"] if self.rows else 0.0
        self._started = time.monotonic() - earlier_seconds
        for note in (*changes, *notes):
            self.logger.log(note)
        if step:
            self.logger.log(f"going on from step {step:,}")
        else:
            self.logger.log_parameters(state.parameters, self.config, self.task.model_dims)
            for note in self.task.log_lines:
                self.logger.log(note)
        return step, state

    @property
    def wall_seconds(self) -> float:
        """The seconds that the run has taken, those of earlier starts included, in milliseconds' precision."""
        return round(time.monotonic() - self._started, 3)

    def position(self, step: int) -> Row:
        """Return the beginning of a metric row: the step and its epoch."""
        return {"step": step, "epoch": self.schedule.epoch(step)}

    def append(self, rows: Sequence[Row]) -> None:
        """Append rows to `metrics.jsonl`."""
        self.folder.append_metrics(rows)
        self.rows += rows

    def save(self, step: int, state: TrainState, metric: float | None) -> None:
        """Save a checkpoint, after the metric rows of its steps are on the disk; see `Checkpoints.save`."""
        self.folder.sync_metrics()
        self.checkpoints.save(step, state, metric, len(self.rows), self.loop.name)

    def append_divergence(self, step: int, clock: Mapping[str, float] = MappingProxyType({})) -> None:
        """Append the row of a step whose loss is not finite; it counts as no evaluation."""
        self.folder.append_metrics([{**self.position(step), "split": "train", "diverged": True, **clock}])

    def close(
        self,
        status: str,
        step: int,
        best_step: int | None,
        state: TrainState,
        splits: Mapping[str, Mapping[str, float]],
        reason: str | None = None,
    ) -> JsonObject:
        """Write the summary.

        Args:
            status: `finished`, `diverged` or `interrupted`.
            step: The last step.
            best_step: The step of the best evaluation, if there was one.
            state: The state of the run, whose parameters are counted.
            splits: The metrics at the best step, by split.
            reason: The setting that stopped the run early, if one did.
        """
        stopped_by = {} if reason is None else {"stopped_by": reason}
        self.summary = {
            "status": status,
            "steps": step,
            "best_step": best_step,
            **stopped_by,
            "cell_parameters": count_cell_parameters(state.parameters),
            "parameters": sum(value.size for value in state.parameters.values()),
            **splits,
            "wall_seconds": self.wall_seconds,
        }
        self.folder.write_summary(self.summary)
        return self.summary
