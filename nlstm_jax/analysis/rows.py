"""The numbers of a comparison, one row per group, best first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from nlstm_jax.analysis.comparison import Comparison
from nlstm_jax.analysis.curves import Group, timing_is_valid
from nlstm_jax.analysis.remarks import cells_differ, models_differ
from nlstm_jax.analysis.statistics import Estimate, estimate


class Reach(NamedTuple):
    """The time at which the runs of a group first reached a level of the metric on the validation split.

    Attributes:
        level: The level.
        steps: The mean number of steps over the runs that reached it. None if none did.
        seconds: The mean number of seconds over those of them with a valid timing. None if there are none.
        runs: The number of runs that reached it.
    """

    level: float
    steps: Estimate | None
    seconds: Estimate | None
    runs: int


@dataclass(frozen=True)
class Row:
    """A row of the table. Estimates are means over the seeds that have a value.

    Attributes:
        label: The label of the group.
        runs: The number of its runs.
        cell_parameters: The number of parameters of the cell. None if no run has recorded it.
        parameters: The number of parameters of the whole model. None if no run has recorded it.
        unequal: True if the cell differs in size by more than 1 % from that of the first row.
        unequal_models: True if the whole model differs in size by more than 2 % from that of the first row.
        valid: The best validation value.
        best_steps: The smallest and the largest step of the best values.
        train: The training value at the best steps.
        test: The test value at the best steps. None if the test split was never evaluated.
        looks: The number of evaluations of the test split, in the run that has most.
        status: The status that all runs have, otherwise the number of runs of each status.
        wall_seconds: The mean duration of the runs with a valid timing.
        reach: The steps and the seconds to the level that was asked for.
        facet: The title of the comparison that the row belongs to. Empty if there is only one comparison.
    """

    label: str
    runs: int
    cell_parameters: int | None
    parameters: int | None
    unequal: bool
    unequal_models: bool
    valid: Estimate | None
    best_steps: tuple[int, int] | None
    train: Estimate | None
    test: Estimate | None
    looks: int
    status: str
    wall_seconds: float | None
    reach: Reach | None = None
    facet: str = ""


def group_rows(comparison: Comparison, metric: str, level: float | None = None) -> list[Row]:
    """Return the rows of a comparison, best validation value first and groups without a value last.

    Args:
        comparison: The groups.
        metric: The metric to compare the groups by.
        level: A level of the metric, if the table is to show how soon it was reached.
    """
    sign = -1 if comparison.groups[0].higher_is_better(metric) else 1

    def sort_key(pair: tuple[Group, Row]) -> tuple[bool, float]:
        valid = pair[1].valid
        if valid is None:
            return (True, 0.0)
        return (False, sign * valid.value)

    pairs = sorted(((group, _row(group, metric, level)) for group in comparison.groups), key=sort_key)
    first = pairs[0][0]
    return [
        replace(row, unequal=cells_differ(first, group), unequal_models=models_differ(first, group))
        for group, row in pairs
    ]


def facet_rows(facets: Mapping[str, Comparison], metric: str, level: float | None = None) -> list[Row]:
    """Return the rows of several comparisons, one comparison after the other.

    Args:
        facets: The comparisons by their titles.
        metric: The metric to compare the groups by.
        level: A level of the metric, if the table is to show how soon it was reached.
    """
    all_rows = []
    for title, comparison in facets.items():
        all_rows += [replace(row, facet=title) for row in group_rows(comparison, metric, level)]
    return all_rows


def _row(group: Group, metric: str, level: float | None) -> Row:
    """Return the row of a group. The comparison with the first row is filled in later."""
    bests = group.bests(metric)
    steps = [best.step for best in bests]
    train = [best.train for best in bests if best.train is not None]
    test = [best.test for best in bests if best.test is not None]
    seconds = []
    for run in group.runs:
        if run.summary and "wall_seconds" in run.summary and timing_is_valid(run):
            seconds.append(run.summary["wall_seconds"])

    status = ", ".join(f"{count} {name}" for name, count in group.statuses.items())
    if len(group.statuses) == 1:
        status = next(iter(group.statuses))
    row = Row(
        label=group.label,
        runs=len(group.runs),
        cell_parameters=group.cell_parameters,
        parameters=group.parameters,
        unequal=False,
        unequal_models=False,
        valid=_estimate([best.valid for best in bests]),
        best_steps=None,
        train=_estimate(train),
        test=_estimate(test),
        looks=max((best.looks for best in bests), default=0),
        status=status,
        wall_seconds=None,
    )
    if steps:
        row = replace(row, best_steps=(min(steps), max(steps)))
    if seconds:
        row = replace(row, wall_seconds=estimate(seconds).value)
    if level is not None:
        row = replace(row, reach=_reach(group, metric, level))
    return row


def _estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean of values with its interval, or None if there are no values."""
    return estimate(values) if values else None


def _reach(group: Group, metric: str, level: float) -> Reach:
    """Return when the runs of a group reached a level."""
    reached = group.reached(metric, level)
    steps = [float(step) for step, _ in reached]
    seconds = [clock for _, clock in reached if clock is not None]
    return Reach(level, _estimate(steps), _estimate(seconds), len(reached))
