"""One run of those that are trained together: its folder, and what it has reached."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp

from nlstm_jax import settings
from nlstm_jax.runs import RunFolder, higher_is_better
from nlstm_jax.tasks import Task
from nlstm_jax.training import hosts
from nlstm_jax.training import optimizer as optimizers
from nlstm_jax.training.best import BestSoFar
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.logger import RunLogger, cell_parameters
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import TracedHparams, TrainState

_CLOCK_FREE = ("step", "epoch", "split", "wall_seconds", "examples_per_second", "tokens_per_second")


@dataclass
class TrainingRun:
    """A run that is being trained.

    Attributes:
        config, task, plan: what is to be done.
        folder, checkpoints, narrator: where it is written.
        state: after `step` steps.
        summary: what it ended with, None while it goes on.
        lines: of its metrics.
    """

    config: Mapping[str, Any]
    task: Task
    plan: TrainingSchedule
    folder: RunFolder
    checkpoints: Checkpoints
    narrator: RunLogger
    state: TrainState
    step: int = 0
    summary: dict[str, Any] | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metric = self.config["eval"]["metric"]
        self.order = self.task.splits["train"].order(self.config["seeds"]["data"], self.config["train"]["batch_size"])
        self._learning_rate = optimizers.schedule(
            self.config["optimizer"], self.plan.total_steps, float(self.plan.steps_per_epoch)
        )
        self._sizes = {
            "cell_parameters": cell_parameters(self.state.parameters),
            "parameters": sum(value.size for value in self.state.parameters.values()),
        }

    def begin(self, environment: Mapping[str, Any]) -> None:
        """Go on from the last checkpoint, or introduce the run."""
        tokens = self.config["train"]["batch_size"] * self.task.targets_per_example
        self.folder.write_environment({**environment, "tokens_per_step": tokens})
        reached = self.checkpoints.steps[-1] if self.checkpoints.steps else 0
        self.step, self.lines = hosts.gather((reached, self.folder.truncate_metrics(reached)))[0]
        self._started = time.monotonic() - (self.lines[-1]["wall_seconds"] if self.lines else 0.0)
        if self.step:
            self.state = self.checkpoints.restore(self.step, self.state)
            self.narrator.say(f"going on from step {self.step:,}")
        else:
            self.narrator.introduce(self.state.parameters, self.config, self.task.sizes)
            for note in self.task.notes:
                self.narrator.say(note)
        self._end_if_due()

    def evaluated(self, reports: Mapping[str, Any], seen: Mapping[str, float], examples_per_second: float) -> None:
        """Write every split's line, then the checkpoint: a crash in between makes the lines anew.

        Args:
            reports: the task's, by split.
            seen: what the last step saw.
            examples_per_second: since the evaluation before.
        """
        if not all(math.isfinite(value) for values in reports.values() for value in values.values()):
            self.diverge(self.step)
            return
        seconds = time.monotonic() - self._started
        clock = {
            "wall_seconds": round(seconds, 3),
            "examples_per_second": round(examples_per_second, 1),
            "tokens_per_second": round(examples_per_second * self.task.targets_per_example, 1),
        }
        last_step = {**seen, "learning_rate": float(self._learning_rate(self.step - 1))}
        lines = [
            {**self._where(self.step), "split": split, **report, **(last_step if split == "train" else {}), **clock}
            for split, report in reports.items()
        ]
        self.folder.append_metrics(lines)
        self.lines += lines
        self.checkpoints.save(self.step, self.state, self._cost(reports))
        left = seconds / self.step * (self.plan.total_steps - self.step)
        self.narrator.evaluated(lines, self.metric, self._progress.best_step, left)
        self._end_if_due()

    def _cost(self, reports: Mapping[str, Any]) -> float | None:
        """The metric that checkpoints are kept by, the lower the better."""
        if "valid" not in reports:
            return None
        return -reports["valid"][self.metric] if higher_is_better(self.metric) else reports["valid"][self.metric]

    def diverge(self, step: int) -> None:
        """End the run at a step whose loss is not finite."""
        line = {**self._where(step), "split": "train", "diverged": True}
        line["wall_seconds"] = round(time.monotonic() - self._started, 3)
        self.folder.append_metrics([line])
        self.step = step
        self._summarise("diverged")

    def interrupt(self) -> None:
        """Keep what has been reached, unless the run has ended; it can go on from there."""
        if self.summary is not None:
            return
        if self.step not in self.checkpoints.steps:
            self.checkpoints.save(self.step, self.state, None)
        self._summarise("interrupted")

    @property
    def name(self) -> str:
        """What the run's folder is called."""
        return self.folder.path.name

    @property
    def last_lines(self) -> list[dict[str, Any]]:
        """Those of the last evaluation."""
        return [line for line in self.lines if line["step"] == self.lines[-1]["step"]]

    @property
    def _progress(self) -> BestSoFar:
        return BestSoFar.of(self.lines, self.metric)

    def _end_if_due(self) -> None:
        options = self.config["eval"]
        reason = self._progress.reason_to_stop(options["patience"], options["tolerance"])
        if self.step >= self.plan.total_steps or reason is not None:
            self._summarise("finished", {} if reason is None else {"stopped_by": reason})

    def _where(self, step: int) -> dict[str, Any]:
        return {"step": step, "epoch": round(float(step / self.plan.steps_per_epoch), 6)}

    def _summarise(self, status: str, further: Mapping[str, Any] = MappingProxyType({})) -> None:
        """The state of things at the best step."""
        progress = self._progress
        summary: dict[str, Any] = {
            "status": status,
            "steps": self.step,
            "best_step": progress.best_step,
            **further,
            **self._sizes,
        }
        for line in self.lines:
            if line["step"] == progress.best_step and line["split"] in ("train", "valid"):
                summary[line["split"]] = {key: value for key, value in line.items() if key not in _CLOCK_FREE}
        summary["wall_seconds"] = round(time.monotonic() - self._started, 3)
        self.folder.write_summary(summary)
        self.narrator.conclude(summary, self.metric)
        self.summary = summary


def traced_hparams(config: Mapping[str, Any]) -> TracedHparams:
    """What a run's program is given as arrays, so that runs which differ in nothing else share a compiled one."""
    numbers = {name: jnp.asarray(config["optimizer"][name], float) for name in settings.TRACED_HPARAMS}
    if not config["optimizer"]["clip_norm"]:
        del numbers["clip_norm"]
    return {"dropout_seed": jnp.int32(config["seeds"]["dropout"]), **numbers}
