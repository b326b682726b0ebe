"""Verdicts with a margin: better, equivalent within the margin, both, or undecided with the seeds it would take."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nlstm_jax.analysis.comparison import Comparison
from nlstm_jax.analysis.curves import Group, run_best, run_status
from nlstm_jax.analysis.equivalence import seeds_for_equivalence, two_one_sided_tests
from nlstm_jax.analysis.statistics import LEVEL, estimate, format_estimate, holm, paired, seeds_to_resolve, welch
from nlstm_jax.analysis.survival import log_rank
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run
from nlstm_jax.types import JsonObject

STEPS_UNIT = "log2 of steps"
"""The unit of a difference in steps to solve, and of its margin."""


@dataclass(frozen=True)
class MarginOptions:
    """Options of the verdicts with a margin.

    Attributes:
        margin: The largest difference that does not matter, in the unit of the metric. With `level` it is in log₂ of
            steps.
        is_paired: True if runs with the same seeds are a pair.
        level: The level of the metric that solves the task. None if the best values are compared.
    """

    margin: float
    is_paired: bool = False
    level: float | None = None


class Measured(NamedTuple):
    """The values of two groups, on which a verdict rests.

    Attributes:
        first: The values of the first group, or the steps to solve.
        second: The values of the second group. Pairs are at the same position.
        first_solved: For steps, True where the step is that of the solution. None for values.
        second_solved: The same for the second group.
    """

    first: list[float]
    second: list[float]
    first_solved: list[bool] | None = None
    second_solved: list[bool] | None = None


class MarginVerdict(NamedTuple):
    """The verdict on a difference, first minus second.

    Attributes:
        value: The difference of the means. None if some run has not solved the task.
        half_width: The half-width of its 95 % interval. None if there is no interval.
        p: The two-sided p-value that the groups do not differ. None if there is no test.
        p_equivalence: The p-value that they differ by the margin or more. None if there is no test.
        seeds: The seeds that would resolve the observed difference. None if no number would, or if it is not known.
        seeds_equivalence: The seeds that would show equivalence if there were no difference. None if not known.
    """

    value: float | None
    half_width: float | None
    p: float | None
    p_equivalence: float | None
    seeds: int | None
    seeds_equivalence: int | None

    def name(self, p: float | None) -> str:
        """Return the verdict in words.

        Args:
            p: The p-value of a difference after a correction, or `self.p`.
        """
        is_better = p is not None and p < 1 - LEVEL
        is_equivalent = self.p_equivalence is not None and self.p_equivalence < 1 - LEVEL
        if is_better and is_equivalent:
            return "better, but within the margin"
        if is_better:
            return "better"
        if is_equivalent:
            return "equivalent within the margin"
        return "undecided"


def judge(measured: Measured, options: MarginOptions) -> MarginVerdict:
    """Judge the difference of two groups. See docs/comparing.md for the tests.

    Args:
        measured: The values of the groups, or their steps to solve.
        options: The margin and the tests.
    """
    first = measured.first
    second = measured.second
    p = None
    if measured.first_solved is not None and measured.second_solved is not None:
        ranks = log_rank(first, second, measured.first_solved, measured.second_solved)
        p = ranks.p if ranks else None
        if not all((*measured.first_solved, *measured.second_solved)):
            return MarginVerdict(None, None, p, None, None, None)
        first = [math.log2(steps) for steps in first]
        second = [math.log2(steps) for steps in second]

    test = paired if options.is_paired else welch
    difference = test(first, second)
    value = estimate(first).value - estimate(second).value
    if difference is None:
        return MarginVerdict(value, None, p, None, None, None)
    if measured.first_solved is None:
        p = difference.p
    equivalence = two_one_sided_tests(first, second, options.margin, is_paired=options.is_paired)
    seeds = None
    seeds_equivalence = None
    if not options.is_paired:
        seeds = seeds_to_resolve(first, second) if measured.first_solved is None else None
        seeds_equivalence = seeds_for_equivalence(first, second, options.margin)
    p_equivalence = equivalence.p if equivalence else None
    return MarginVerdict(value, difference.half_width, p, p_equivalence, seeds, seeds_equivalence)


def judge_all(comparison: Comparison, metric: str, options: MarginOptions) -> list[JsonObject]:
    """Judge the pairs of groups on the validation split, and on the test split where all runs have a test value.

    The pair that was named in advance comes first, and is not corrected. The p-values of all other pairs are corrected
    together by Holm's method. The first group of a pair is the first one of the contrast, or the better one.

    Returns:
        An object for each pair and split, as it is written to `margin.json`.

    Raises:
        ConfigError: Pairs were asked for, and two groups do not have the same seeds.
    """
    if comparison.incomparable:
        return []
    reports = []
    for split in ("valid", "test"):
        reports += _judge_split(comparison, metric, options, split)
    return reports


def sentence(report: JsonObject) -> str:
    """Return a report of `judge_all` as a sentence."""
    measured = report["split"]
    if report["split"] == "steps":
        first_runs, second_runs = report["runs"]
        solved = f"{report['first_solved']} of {first_runs} and {report['second_solved']} of {second_runs} runs"
        measured = f"steps to {report['metric']} {report['level']:g}, which {solved} reach"
    opening = f"Margin {report['margin']:g}, {measured}: {report['first']} − {report['second']}"
    if report["value"] is not None:
        amount = format_estimate(report["value"], report["half_width"])
        opening += f" = {amount} {report['unit']}".rstrip()
    tests = []
    if report["p"] is not None:
        test = "log-rank test, " if report["split"] == "steps" else ""
        correction = ", corrected by Holm" if report["corrected"] else ""
        tests.append(f"{test}p = {report['p']:.2g}{correction}")
    if report["p_equivalence"] is not None:
        tests.append(f"p of equivalence = {report['p_equivalence']:.2g}")
    name = report["verdict"]
    if name.startswith("better"):
        name = f"{report['better']} is {name}"
    text = f"{opening}: {name}"
    if tests:
        text += f" ({'; '.join(tests)})"
    if name == "undecided":
        text += _seeds_clause(report)
    return f"{text}."


def steps_to_solve(groups: tuple[Group, Group], metric: str, level: float) -> Measured:
    """Return the steps at which the runs of two groups first reach a level on the validation split.

    A run that does not reach it is censored at its last step. A diverged run never reaches it, and is censored at the
    last step of all runs.
    """
    runs = [run for group in groups for run in group.runs]
    last_steps = {run.path: max((int(line["step"]) for line in run.metrics), default=0) for run in runs}
    last = max(last_steps.values())
    sign = -1 if groups[0].higher_is_better(metric) else 1
    steps: list[list[float]] = []
    solved: list[list[bool]] = []
    for group in groups:
        group_steps = []
        group_solved = []
        for run in group.runs:
            curve = run.curve("valid", metric)
            reached = [step for step, value in curve.items() if (value - level) * sign <= 0]
            censored = last if run_status(run) == "diverged" else last_steps[run.path]
            # A run that reaches the level before its first step counts with one step, which has a logarithm.
            group_steps.append(float(max(1, min(reached, default=censored))))
            group_solved.append(bool(reached))
        steps.append(group_steps)
        solved.append(group_solved)
    return Measured(steps[0], steps[1], solved[0], solved[1])


def better_group(pair: tuple[Group, Group], measured: Measured, metric: str) -> str:
    """Return the label of the group with the better values, or with the earlier solutions."""
    first, second = pair
    if measured.first_solved is not None and measured.second_solved is not None:
        ranks = log_rank(measured.first, measured.second, measured.first_solved, measured.second_solved)
        return first.label if ranks is not None and ranks.statistic > 0 else second.label
    is_higher = estimate(measured.first).value > estimate(measured.second).value
    return first.label if is_higher == first.higher_is_better(metric) else second.label


def _judge_split(comparison: Comparison, metric: str, options: MarginOptions, split: str) -> list[JsonObject]:
    """Judge all pairs of groups on one split. Steps to solve are those of the validation split alone."""
    if options.level is not None and split == "test":
        return []
    name = split if options.level is None else "steps"
    judged = []
    for pair in _pairs(comparison, metric):
        if options.level is None:
            measured = _values(pair, metric, split, options.is_paired)
        else:
            measured = steps_to_solve(pair, metric, options.level)
        if measured is not None:
            judged.append((pair, measured, judge(measured, options)))
    others = [verdict.p for pair, _, verdict in judged if not _is_named(pair, comparison)]
    exploratory = [p for p in others if p is not None]
    corrected = dict(zip(exploratory, holm(exploratory), strict=True))

    reports = []
    for pair, measured, verdict in judged:
        is_named = _is_named(pair, comparison)
        p = verdict.p
        if p is not None and not is_named:
            p = corrected[p]
        first, second = pair
        reports.append(
            {
                "split": name,
                "metric": metric,
                "unit": STEPS_UNIT if name == "steps" else first.runs[0].unit(metric),
                "margin": options.margin,
                "level": options.level,
                "paired": options.is_paired,
                "named": is_named,
                "first": first.label,
                "second": second.label,
                "runs": [len(measured.first), len(measured.second)],
                "first_solved": None if measured.first_solved is None else sum(measured.first_solved),
                "second_solved": None if measured.second_solved is None else sum(measured.second_solved),
                **verdict._asdict(),
                "p": p,
                "corrected": not is_named and len(exploratory) > 1,
                "verdict": verdict.name(p),
                "better": better_group(pair, measured, metric),
            }
        )
    return reports


def _pairs(comparison: Comparison, metric: str) -> list[tuple[Group, Group]]:
    """Return all pairs of groups with a valid value, the one that was named in advance first."""
    groups = [group for group in comparison.groups if group.bests(metric)]
    sign = -1 if groups and groups[0].higher_is_better(metric) else 1
    groups.sort(key=lambda group: sign * estimate([best.valid for best in group.bests(metric)]).value)
    pairs = list(itertools.combinations(groups, 2))
    if comparison.contrast is None:
        return pairs
    by_label = {group.label: group for group in groups}
    if not set(by_label).issuperset(comparison.contrast):
        return pairs
    first, second = comparison.contrast
    others = [pair for pair in pairs if not _is_named(pair, comparison)]
    return [(by_label[first], by_label[second]), *others]


def _is_named(pair: tuple[Group, Group], comparison: Comparison) -> bool:
    """Return True if the difference of a pair was named in advance."""
    return comparison.contrast is not None and {group.label for group in pair} == set(comparison.contrast)


def _values(pair: tuple[Group, Group], metric: str, split: str, is_paired: bool) -> Measured | None:
    """Return the values of two groups at the best steps. None if a run has no value on the split.

    Raises:
        ConfigError: Pairs were asked for, and the groups do not have the same seeds.
    """
    by_seeds: list[dict[str, float]] = []
    values: list[list[float]] = []
    for group in pair:
        group_values = []
        group_by_seeds = {}
        for run in group.runs:
            best = run_best(run, metric)
            value = None if best is None else getattr(best, split)
            if value is None:
                if best is None and split == "valid":
                    continue
                return None
            group_values.append(value)
            group_by_seeds[_seeds(run)] = value
        values.append(group_values)
        by_seeds.append(group_by_seeds)
    if not is_paired:
        return Measured(values[0], values[1])
    first, second = by_seeds
    if first.keys() != second.keys() or len(first) < len(values[0]) or len(second) < len(values[1]):
        raise ConfigError(f"--paired: the same seeds in {pair[0].label} and {pair[1].label} expected, found others")
    return Measured(list(first.values()), [second[seeds] for seeds in first])


def _seeds(run: Run) -> str:
    """Return the seeds of a run as text that can be compared."""
    return str(sorted(run.config.get("seeds", {}).items()))


def _seeds_clause(report: Mapping[str, object]) -> str:
    """Return a clause on the seeds that a verdict would take, each with a power of 80 %."""
    clauses: Sequence[tuple[str, object]] = (
        ('"better" at this difference', report["seeds"]),
        ('"equivalent" at no difference', report["seeds_equivalence"]),
    )
    known = [f"{aim} would take about {count:,} seeds each" for aim, count in clauses if isinstance(count, int)]
    return f"; {', '.join(known)}" if known else ""
