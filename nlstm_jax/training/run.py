"""One run that is being trained: its state, and the events that its record is told of."""

import math
from collections.abc import Mapping

from nlstm_jax.settings import find_metric
from nlstm_jax.training.best import BestSoFar
from nlstm_jax.training.manifest import named_leaves
from nlstm_jax.training.nonfinite import NONE, first_nonfinite
from nlstm_jax.training.optimizer import OptimizerFactory
from nlstm_jax.training.record import Row, RunRecord
from nlstm_jax.training.steps import TrainState
from nlstm_jax.types import JsonObject

_WITHOUT_CLOCK = ("step", "epoch", "split", "wall_seconds", "examples_per_second", "tokens_per_second")


class TrainingRun:
    """A run that is being trained, alone or in a group.

    Attributes:
        record: Its record in the run folder.
        state: The state after `step` steps.
        step: The number of steps made.
        divergence: What is not finite, and at which step; empty for a run that has not diverged.
    """

    def __init__(self, record: RunRecord, state: TrainState, optimizer: OptimizerFactory) -> None:
        """Take up a run before its first step."""
        config = record.config
        self.record = record
        self.state = state
        self.step = 0
        self.divergence = ""
        self._has_nonfinite = False
        self.config = config
        self.metric = config["eval"]["metric"]
        self._higher_is_better = find_metric(config, self.metric).higher_is_better
        self.sampler = record.task.splits["train"].order(config["seeds"]["data"], config["train"]["batch_size"])
        self._optimizer = optimizer

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return self.record.folder.path.name

    @property
    def summary(self) -> JsonObject | None:
        """The summary that the run ended with; None while it goes on."""
        return self.record.summary

    @property
    def last_rows(self) -> list[Row]:
        """The metric rows of the last evaluation."""
        rows = self.record.rows
        return [row for row in rows if row["step"] == rows[-1]["step"]]

    def resume_or_start(self, environment: JsonObject) -> None:
        """Go on from the last checkpoint, or begin."""
        tokens_per_step = self.config["train"]["batch_size"] * self.record.task.targets_per_example
        environment = {**environment, "tokens_per_step": tokens_per_step}
        self.step, self.state = self.record.open(self.state, environment)
        self._finish_if_due()

    def record_evaluation(
        self, reports: Mapping[str, Mapping[str, float]], step_stats: Mapping[str, float], examples_per_second: float
    ) -> None:
        """Write a metric row for every split, then the checkpoint: after a crash in between the rows are made anew.

        Args:
            reports: The task's metrics, by split.
            step_stats: Numbers of the last training step, by name.
            examples_per_second: The speed since the evaluation before.
        """
        self._check_finite(reports)
        if self.summary is not None:
            return
        task = self.record.task
        clock = {
            "wall_seconds": self.record.wall_seconds,
            "examples_per_second": round(examples_per_second, 1),
            "tokens_per_second": round(examples_per_second * task.targets_per_example, 1),
        }
        # The last step may be one that was skipped.
        step_stats = {name: value for name, value in step_stats.items() if math.isfinite(value)}
        if self.state.skipped:
            step_stats["skipped_updates"] = int(self.state.skipped.total)
        step_stats = {**step_stats, "learning_rate": self._optimizer.learning_rate(self.step - 1)}
        rows = []
        for split, report in reports.items():
            row = {**self.record.position(self.step), "split": split, **report}
            if split == "train":
                row |= step_stats
            rows.append(row | clock)
        if not self.record.rows:
            self._log_missing_metrics(reports)
        self.record.append(rows)
        self.record.save(self.step, self.state, self._cost(reports))

        steps_left = self.record.schedule.total_steps - self.step
        seconds_left = steps_left * self.config["train"]["batch_size"] / examples_per_second
        self.record.logger.log_evaluation(rows, self.metric, self._best.best_step, seconds_left)
        self._finish_if_due()

    def record_nonfinite(self, step: int, loss: float, parameter: int, last_step: int) -> None:
        """Log the first step of a call that is not finite, and end the run if a step of the call ends it.

        Args:
            step: The first step that is not finite.
            loss: Its loss.
            parameter: The index of the first parameter whose gradient is not finite; `NONE` if all are finite.
            last_step: The step that ends the run; `NONE` if the run goes on.
        """
        where = "the loss"
        if parameter != NONE:
            where = f"the gradient of {sorted(self.state.parameters)[parameter]}"
        elif math.isfinite(loss):
            where = "a new parameter"
        if not self._has_nonfinite:
            batch = self.sampler.batches(step - 1, step)[0].tolist()
            self.record.logger.log(f"step {step:,}: loss {loss}; {where} is not finite; examples {batch}")
            self._has_nonfinite = True
        if last_step == NONE:
            return
        options = self.config["train"]
        what = where if math.isfinite(loss) else "the loss"
        if options["nonfinite"] == "skip":
            what = f"each of {options['nonfinite_limit']} updates in a row"
        self.record_divergence(last_step, what)

    def record_divergence(self, step: int, what: str) -> None:
        """End the run at a step.

        Args:
            step: The step.
            what: What is not finite there.
        """
        self.divergence = f"{what} is not finite at step {step:,}"
        self.record.append_divergence(step, {"wall_seconds": self.record.wall_seconds})
        self.step = step
        self._close("diverged")

    def _check_finite(self, reports: Mapping[str, Mapping[str, float]]) -> None:
        """End the run if a metric or an array of its state is not finite.

        Args:
            reports: The task's metrics, by split.
        """
        metrics = [(split, name, value) for split, report in reports.items() for name, value in report.items()]
        bad_metrics = [f"{split} {name}" for split, name, value in metrics if not math.isfinite(value)]
        what = first_nonfinite(named_leaves(self.state))
        if what is None and bad_metrics:
            what = bad_metrics[0]
        if what is not None:
            self.record.logger.log(f"step {self.step:,}: {what} is not finite")
            self.record_divergence(self.step, what)

    def record_interruption(self) -> None:
        """Keep the state, unless the run has ended; the run can go on from there."""
        if self.summary is None and self.step not in self.record.checkpoints.steps:
            self._check_finite({})
        if self.summary is not None:
            return
        if self.step not in self.record.checkpoints.steps:
            self.record.save(self.step, self.state, None)
        self._close("interrupted")

    def _log_missing_metrics(self, reports: Mapping[str, Mapping[str, float]]) -> None:
        """Log one line if the task declares metrics that the first evaluation has not returned for any split."""
        returned = {name for report in reports.values() for name in report}
        missing = [metric.name for metric in self.record.task.metrics if metric.name not in returned]
        if missing:
            self.record.logger.log(
                f"metrics: {', '.join(missing)} declared by {self.config['task']}, but not returned by the "
                f"evaluation, which returned {', '.join(sorted(returned)) or 'none'}"
            )

    @property
    def _best(self) -> BestSoFar:
        return BestSoFar.from_rows(self.record.rows, self.metric, higher_is_better=self._higher_is_better)

    def _cost(self, reports: Mapping[str, Mapping[str, float]]) -> float | None:
        """Return the number that checkpoints are kept by, lower is better; None without a validation metric."""
        value = reports.get("valid", {}).get(self.metric)
        if value is None:
            return None
        return -value if self._higher_is_better else value

    def _finish_if_due(self) -> None:
        """End the run after its last step, or where patience or tolerance stops it."""
        options = self.config["eval"]
        reason = self._best.reason_to_stop(options["patience"], options["tolerance"])
        if self.step >= self.record.schedule.total_steps or reason is not None:
            self._close("finished", reason)

    def _close(self, status: str, reason: str | None = None) -> None:
        """Write the summary, with the metrics of the best step."""
        best_step = self._best.best_step
        splits = {}
        for row in self.record.rows:
            if row["step"] == best_step and row["split"] in ("train", "valid"):
                splits[row["split"]] = {key: value for key, value in row.items() if key not in _WITHOUT_CLOCK}
        summary = self.record.close(status, self.step, best_step, self.state, splits, reason)
        self.record.logger.log_summary(summary, self.metric)
