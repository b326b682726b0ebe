"""The verdicts of a suite: contrasts of designs, corrections over tasks, the sign count and the interaction."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from nlstm_jax.analysis.curves import Group, run_best, run_status
from nlstm_jax.analysis.margin import (
    MarginOptions,
    MarginVerdict,
    Measured,
    better_group,
    judge,
    steps_to_solve,
)
from nlstm_jax.analysis.statistics import Difference, estimate, holm, linear_contrast
from nlstm_jax.suite.results import TaskResult
from nlstm_jax.suite.spec import SuiteTask
from nlstm_jax.types import JsonObject


class Contrast(NamedTuple):
    """The difference of two designs on one task, first minus second.

    Attributes:
        task: The task.
        first: The name of the first design.
        second: The name of the second design.
        verdict: The verdict with a margin, whose p-value is not corrected.
        p: The p-value after a correction. None if there is no test.
        better: The name of the design that is ahead. None if neither is.
        end: Why the contrast does not count, as all designs are at one end. Empty if it counts.
    """

    task: SuiteTask
    first: str
    second: str
    verdict: MarginVerdict
    p: float | None
    better: str | None
    end: str

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.end:
            return f"none, as {self.end}"
        name = self.verdict.name(self.p)
        return f"{self.better} is {name}" if name.startswith("better") else name

    def as_json(self, *, is_primary: bool) -> JsonObject:
        """Return the contrast in the form of `margin.judge_all`."""
        return {
            "title": self.task.title,
            "split": "test" if self.task.level is None else "steps",
            "metric": self.task.metric,
            "unit": self.task.unit,
            "margin": self.task.margin,
            "level": self.task.level,
            "named": is_primary,
            "first": self.first,
            "second": self.second,
            **self.verdict._asdict(),
            "p": self.p,
            "p_uncorrected": self.verdict.p,
            "corrected": True,
            "verdict": "none" if self.end else self.verdict.name(self.p),
            "better": self.better,
            "end": self.end,
        }


def measure(task: SuiteTask, first: Group, second: Group) -> Measured:
    """Return the test losses of two complete designs at their best steps, or their steps to solve the task."""
    if task.level is not None:
        return steps_to_solve((first, second), task.metric, task.level)
    return Measured(test_values(task, first), test_values(task, second))


def test_values(task: SuiteTask, group: Group) -> list[float]:
    """Return the metric of each run on the test split, at the step that is best on validation.

    Runs without a value are left out. A complete design has none of these, see `results.incomplete_reason`.
    """
    bests = [run_best(run, task.metric) for run in group.runs]
    return [best.test for best in bests if best is not None and best.test is not None]


def contrast(result: TaskResult, first: Group, second: Group) -> Contrast:
    """Judge the difference of two designs, without a correction."""
    task = result.task
    measured = measure(task, first, second)
    verdict = judge(measured, MarginOptions(task.margin, level=task.level))
    better: str | None = better_group((first, second), measured, task.metric)
    if verdict.value == 0 or (verdict.value is None and verdict.p is None):
        better = None
    return Contrast(task, first.label, second.label, verdict, verdict.p, better, end_of_scale(result))


def corrected(contrasts: Sequence[Contrast], count: int) -> list[Contrast]:
    """Return contrasts with p-values that Holm's method corrects for `count` tests.

    A test that has not been done yet, or that cannot be done, counts with p = 1. The correction is conservative in
    this way: no corrected p-value can grow when the other tests are done.

    Args:
        contrasts: The contrasts so far.
        count: The number of tests of the protocol.
    """
    values = [1.0 if item.verdict.p is None else item.verdict.p for item in contrasts]
    padding = [1.0] * (count - len(values))
    p_values = holm([*values, *padding])
    changed = []
    for item, p in zip(contrasts, p_values, strict=False):
        changed.append(item._replace(p=None if item.verdict.p is None else p))
    return changed


def end_of_scale(result: TaskResult) -> str:
    """Return why no contrast of a task counts, or an empty text if some design lies between chance and optimum.

    A design lies there if the 95 % interval of its mean excludes both. Where neither is known, this is not tested.
    Where steps are compared, a design must solve the task in some and not in all runs, or take more than one
    evaluation.
    """
    task = result.task
    if task.level is not None:
        if any(_is_between_in_steps(task, group) for group in result.designs.values()):
            return ""
        return "all designs solve the task at the first evaluation, or none solves it"
    if any(_is_between(result, group) for group in result.designs.values()):
        return ""
    return "no design lies clearly between chance and the optimum"


def sign_count(contrasts: Iterable[Contrast], subject: str) -> tuple[int, int, float]:
    """Count the tasks on which a design is ahead.

    Returns:
        The number of tasks on which the subject is ahead, the number on which either design is, and the two-sided
        p-value of the binomial test.
    """
    leaders = [item.better for item in contrasts if item.better is not None]
    wins = leaders.count(subject)
    return wins, len(leaders), sign_test(wins, len(leaders))


def sign_test(wins: int, total: int) -> float:
    """Return the two-sided p-value of `wins` of `total` fair coins.

    >>> sign_test(7, 7)
    0.015625
    """
    tail = min(wins, total - wins)
    below = sum(math.comb(total, count) for count in range(tail + 1))
    return min(1.0, 2 * below / 2**total)


def interaction(gates: TaskResult, feeds: TaskResult, first: str, second: str) -> Difference | None:
    """Return (first − second on gates) − (first − second on feeds), with an interval over the four groups of seeds."""
    groups = []
    for result in (gates, feeds):
        for design in (first, second):
            groups.append(test_values(result.task, result.designs[design]))
    return linear_contrast(groups, (1, -1, -1, 1))


def diverged_runs(designs: Mapping[str, Group]) -> list[str]:
    """Return the names of the runs that diverged."""
    runs = [run for group in designs.values() for run in group.runs]
    return [run.path.name for run in runs if run_status(run) == "diverged"]


def _is_between(result: TaskResult, group: Group) -> bool:
    """Return True if the interval of a design's mean excludes chance and the optimum, as far as they are known."""
    mean = estimate(test_values(result.task, group))
    half_width = mean.half_width or 0.0
    if result.chance is not None and mean.value + half_width >= result.chance:
        return False
    return result.task.optimum is None or mean.value - half_width > result.task.optimum


def _is_between_in_steps(task: SuiteTask, group: Group) -> bool:
    """Return True if some and not all runs solve the task, or one takes more than its first evaluation."""
    assert task.level is not None
    measured = steps_to_solve((group, group), task.metric, task.level)
    assert measured.first_solved is not None
    solved = sum(measured.first_solved)
    if 0 < solved < len(measured.first_solved):
        return True
    first_steps = [min(run.curve("valid", task.metric)) for run in group.runs]
    rows = zip(measured.first, measured.first_solved, first_steps, strict=True)
    return any(is_solved and steps > first_step for steps, is_solved, first_step in rows)
