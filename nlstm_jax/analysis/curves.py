"""Runs that differ in their seeds alone, gathered into groups; a group's curves and best values."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nlstm_jax.analysis.statistics import estimate
from nlstm_jax.runs import Run, higher_is_better, read_examples
from nlstm_jax.types import Float

SPLITS = ("valid", "train", "test")

AXES = {"step": "training step", "tokens": "training tokens", "seconds": "seconds of training"}
"""What a curve can be drawn along. Seconds are those of runs that had their slot alone."""


@dataclass(frozen=True)
class Curve:
    """Means over a group's seeds at the steps which all of them have.

    Attributes:
        steps: where.
        mean: of the metric there.
        half_width: of the t-interval there; None where there is one seed.
    """

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    half_width: tuple[float, ...] | None


@dataclass(frozen=True)
class Best:
    """Where a run's validation metric was best, and what the other splits were then.

    Attributes:
        step: the first step with the best value.
        valid: the best value.
        train: at that step; None where it was not measured.
        test: what `evaluate` said of the test split, else the test curve's value at that step.
        looks: how often the test split was looked at: by `evaluate`, and once a point of a test curve.
    """

    step: int
    valid: float
    train: float | None
    test: float | None
    looks: int


@dataclass(frozen=True)
class Group:
    """Runs of one configuration, each with its own seeds."""

    label: str
    runs: tuple[Run, ...]

    def curve(self, split: str, metric: str) -> Curve | None:
        """The mean curve over the runs that have this metric; None if none has."""
        curves = [curve for run in self.runs if (curve := run_curve(run, split, metric))]
        shared = sorted(set.intersection(*map(set, curves))) if curves else []
        if not shared:
            return None
        means = [estimate([curve[step] for curve in curves]) for step in shared]
        widths = tuple(mean.half_width for mean in means if mean.half_width is not None)
        return Curve(tuple(shared), tuple(mean.value for mean in means), widths or None)

    def bests(self, metric: str) -> list[Best]:
        """The best value of every run that has one."""
        if metric not in self._bests:
            self._bests[metric] = [best for run in self.runs if (best := run_best(run, metric))]
        return self._bests[metric]

    @cached_property
    def _bests(self) -> dict[str, list[Best]]:
        """What has been asked for: a verdict on many groups asks for every pair of them."""
        return {}

    def along(self, axis: str, steps: Sequence[int]) -> tuple[float, ...] | None:
        """Where these steps lie along one of `AXES`; None where that is not known."""
        if axis == "step":
            return tuple(steps)
        if axis == "tokens":
            each = self.runs[0].environment.get("tokens_per_step")
            return each and tuple(step * each for step in steps)
        clocks = [
            {line["step"]: line["wall_seconds"] for line in run.metrics if is_number(line.get("wall_seconds"))}
            for run in self.runs
            if timing_is_valid(run)
        ]
        clocks = [clock for clock in clocks if all(step in clock for step in steps)]
        return tuple(math.fsum(clock[step] for clock in clocks) / len(clocks) for step in steps) if clocks else None

    def reached(self, metric: str, level: float) -> list[tuple[int, float | None]]:
        """For every run that comes to `level` on the validation split its first step there, and its seconds."""
        found = []
        for run in self.runs:
            curve = run_curve(run, "valid", metric)
            there = [step for step, value in curve.items() if (value - level) * (-1) ** higher_is_better(metric) <= 0]
            if there:
                step = min(there)
                clock = next(line for line in run.metrics if line["step"] == step).get("wall_seconds")
                found.append((step, clock if timing_is_valid(run) else None))
        return found

    def by_example(self, metric: str) -> tuple[Float[np.ndarray, "S N"], Float[np.ndarray, "N"]] | None:
        """What every validation example adds in every run's best step, and to how many targets; None where unknown."""
        rows, weights = [], []
        for run in self.runs:
            best, found = run_best(run, metric), read_examples(run.path, "valid", metric)
            if best is None:
                continue
            if found is None or found.step != best.step:
                return None
            rows.append(found.sums)
            weights.append(found.weights)
        same = bool(weights) and all(np.array_equal(weights[0], other) for other in weights)
        return (np.stack(rows), weights[0]) if same else None

    @property
    def cell_parameters(self) -> int | None:
        """Of the recurrent part; None while no run says."""
        return self._summarised("cell_parameters")

    @property
    def budget(self) -> dict[str, int]:
        """The budget that decided the cell's width, if it is another than the cell's number of parameters.

        `operations` or `state` of the cell, or `model`, the parameters of the whole model.
        """
        config = self.runs[0].config
        cell = config.get("cell", {})
        budgets = {name: cell.get(name) for name in ("operations", "state")}
        budgets["model"] = config.get("model", {}).get("parameters")
        return {name: budget for name, budget in budgets.items() if budget}

    @property
    def parameters(self) -> int | None:
        """Of the whole model; None while no run says."""
        return self._summarised("parameters")

    @cached_property
    def statuses(self) -> Counter[str]:
        """How many runs are finished, diverged, interrupted or (without a summary) unfinished."""
        return Counter(map(run_status, self.runs))

    def _summarised(self, key: str) -> int | None:
        return next((run.summary[key] for run in self.runs if run.summary and key in run.summary), None)


def run_curve(run: Run, split: str, metric: str) -> dict[int, float]:
    """A metric by step, where it is a finite number."""
    lines = (line for line in run.metrics if line.get("split") == split)
    return {int(line["step"]): float(line[metric]) for line in lines if is_number(line.get(metric))}


def run_best(run: Run, metric: str) -> Best | None:
    """Where a run was best; None where the metric was never measured on the validation split."""
    valid = run_curve(run, "valid", metric)
    if not valid:
        return None
    step = (max if higher_is_better(metric) else min)(valid, key=valid.__getitem__)
    if run.config.get("train", {}).get("online"):
        # Every line is another example's: none is better for its luck.
        step = max(valid)
    curve, summary = run_curve(run, "test", metric), run.summary or {}
    evaluated = summary.get("test", {}).get(metric)
    looks = len(curve) + (summary.get("test_looks", 1) if "test" in summary else 0)
    test = curve.get(step) if evaluated is None else evaluated
    return Best(step, valid[step], run_curve(run, "train", metric).get(step), test, looks)


def timing_is_valid(run: Run) -> bool:
    """Whether its seconds are its own: not of several runs in one process or on one device."""
    return bool(run.environment.get("alone", "trained_together" not in run.environment))


def run_status(run: Run) -> str:
    """The summary's status; `unfinished` without one, as the run goes on or was killed."""
    return "unfinished" if run.summary is None else str(run.summary.get("status", "unfinished"))


def is_number(value: Any) -> bool:
    """Whether a line's value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
