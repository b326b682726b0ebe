"""Groups of runs that differ only in their seeds, with their curves and best values."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nlstm_jax.analysis.statistics import estimate
from nlstm_jax.runs import Run, is_number, read_examples
from nlstm_jax.types import Float

SPLITS = ("valid", "train", "test")

AXES = {"step": "training step", "tokens": "training tokens", "seconds": "seconds of training"}
"""The horizontal axes of a plot, with their titles. Seconds are those of runs with a valid timing."""


@dataclass(frozen=True)
class Curve:
    """A mean over a group's seeds, at the steps that all of them have.

    Attributes:
        steps: The training steps.
        mean: The mean of the metric at each step.
        half_width: The half-width of the t-interval at each step. None if there is only one seed.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    half_width: tuple[float, ...] | None


@dataclass(frozen=True)
class Best:
    """A run's best validation value, with the values of the other splits at the same step.

    Attributes:
        step: The first step with the best value.
        valid: The best value.
        train: The training value at that step. None if it was not measured there.
        test: The result of `evaluate` on the test split, otherwise the value of the test curve at that step.
        looks: The number of times the test split was evaluated: by `evaluate`, and once per point of a test curve.
    """

    step: int
    valid: float
    train: float | None
    test: float | None
    looks: int


@dataclass(frozen=True)
class Group:
    """A group of runs of one configuration, each with its own seeds.

    Attributes:
        label: The label of the group in tables and plots.
        runs: The runs.
    """

    label: str
    runs: tuple[Run, ...]

    def higher_is_better(self, metric: str) -> bool:
        """Return True if a higher value of the metric is better."""
        return self.runs[0].higher_is_better(metric)

    def curve(self, split: str, metric: str) -> Curve | None:
        """Return the mean curve over the runs that have this metric, or None if no run has it."""
        curves = [run.curve(split, metric) for run in self.runs]
        curves = [curve for curve in curves if curve]
        if not curves:
            return None
        steps = sorted(set.intersection(*map(set, curves)))
        if not steps:
            return None

        means = [estimate([curve[step] for curve in curves]) for step in steps]
        half_widths = tuple(mean.half_width for mean in means if mean.half_width is not None)
        return Curve(tuple(steps), tuple(mean.value for mean in means), half_widths or None)

    def bests(self, metric: str) -> list[Best]:
        """Return the best value of every run that has one."""
        if metric not in self._bests:
            bests = [run_best(run, metric) for run in self.runs]
            self._bests[metric] = [best for best in bests if best]
        return self._bests[metric]

    @cached_property
    def _bests(self) -> dict[str, list[Best]]:
        """The results of `bests` so far, because a verdict on many groups needs them for every pair of groups."""
        return {}

    def along(self, axis: str, steps: Sequence[int]) -> tuple[float, ...] | None:
        """Convert training steps to positions along one of `AXES`.

        Returns:
            None if the positions are unknown.
        """
        if axis == "step":
            return tuple(steps)
        if axis == "tokens":
            tokens_per_step = self.runs[0].environment.get("tokens_per_step")
            return tokens_per_step and tuple(step * tokens_per_step for step in steps)
        clocks = [_seconds_by_step(run) for run in self.runs if timing_is_valid(run)]
        clocks = [clock for clock in clocks if all(step in clock for step in steps)]
        if not clocks:
            return None
        return tuple(math.fsum(clock[step] for clock in clocks) / len(clocks) for step in steps)

    def reached(self, metric: str, level: float) -> list[tuple[int, float | None]]:
        """Return when each run first reached a level of a metric on the validation split.

        Returns:
            The step and the seconds for every run that reached the level. The seconds are None if the run's timing
            is not valid.
        """
        sign = -1 if self.higher_is_better(metric) else 1
        reached: list[tuple[int, float | None]] = []
        for run in self.runs:
            curve = run.curve("valid", metric)
            steps = [step for step, value in curve.items() if (value - level) * sign <= 0]
            if not steps:
                continue
            step = min(steps)
            seconds = None
            if timing_is_valid(run):
                line = next(line for line in run.metrics if line["step"] == step)
                seconds = line.get("wall_seconds")
            reached.append((step, seconds))
        return reached

    def by_example(self, metric: str) -> tuple[Float[np.ndarray, "S N"], Float[np.ndarray, "N"]] | None:
        """Return the sums of a metric for every validation example at the best step of every run.

        Returns:
            The sums, one row per run, and the number of targets of each example. None if they are not known for
            every run, or if the runs do not agree on the numbers of targets.
        """
        rows = []
        weights = []
        for run in self.runs:
            best = run_best(run, metric)
            examples = read_examples(run.path, "valid", metric)
            if best is None:
                continue
            if examples is None or examples.step != best.step:
                return None
            rows.append(examples.sums)
            weights.append(examples.weights)
        if not weights or not all(np.array_equal(weights[0], other) for other in weights):
            return None
        return np.stack(rows), weights[0]

    @property
    def cell_parameters(self) -> int | None:
        """The number of parameters of the recurrent part. None if no run has recorded it."""
        return self._first_in_summaries("cell_parameters")

    @property
    def budget(self) -> dict[str, int]:
        """The budget that decided the cell's width, if it is not the number of parameters of the cell.

        The keys are `operations` or `state` for budgets of the cell, and `model` for the number of parameters of the
        whole model.
        """
        config = self.runs[0].config
        cell = config.get("cell", {})
        budgets = {name: cell.get(name) for name in ("operations", "state")}
        budgets["model"] = config.get("model", {}).get("parameters")
        return {name: budget for name, budget in budgets.items() if budget}

    @property
    def parameters(self) -> int | None:
        """The number of parameters of the whole model. None if no run has recorded it."""
        return self._first_in_summaries("parameters")

    @cached_property
    def statuses(self) -> Counter[str]:
        """The number of runs by status: finished, diverged, interrupted, or unfinished if there is no summary."""
        return Counter(map(run_status, self.runs))

    def _first_in_summaries(self, key: str) -> int | None:
        """Return a value from the first run whose summary has it, or None."""
        for run in self.runs:
            if run.summary and key in run.summary:
                value: int = run.summary[key]
                return value
        return None


def run_best(run: Run, metric: str) -> Best | None:
    """Return a run's best value, or None if the metric was never measured on the validation split."""
    step = run.best_step(metric)
    if step is None:
        return None
    train = run.curve("train", metric)
    test = run.curve("test", metric)
    summary = run.summary or {}
    looks = len(test)
    if "test" in summary:
        looks += summary.get("test_looks", 1)
    test_value = summary.get("test", {}).get(metric)
    if test_value is None:
        test_value = test.get(step)
    return Best(step, run.curve("valid", metric)[step], train.get(step), test_value, looks)


def timing_is_valid(run: Run) -> bool:
    """Return True if the run did not share its process or its device with other runs.

    Only then are its seconds comparable to those of other runs.
    """
    return bool(run.environment.get("alone", "trained_together" not in run.environment))


def run_status(run: Run) -> str:
    """Return the status from the run's summary, or "unfinished" if it has none: it is running or was killed."""
    if run.summary is None:
        return "unfinished"
    return str(run.summary.get("status", "unfinished"))


def _seconds_by_step(run: Run) -> dict[int, float]:
    """Return the seconds of training at each step of the run's metric lines."""
    return {line["step"]: line["wall_seconds"] for line in run.metrics if is_number(line.get("wall_seconds"))}
