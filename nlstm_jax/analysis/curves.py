"""Runs that differ in their seeds alone, gathered into groups; a group's curves and best values."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nlstm_jax.analysis.statistics import estimate
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, flatten

SPLITS = ("valid", "train", "test")
CLOCKS = ("wall_seconds", "examples_per_second", "tokens_per_second")
CELL_TOLERANCE = 0.01
"""Cells whose numbers of parameters are further apart, as a part of the smaller, are not of equal cost."""


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
        return [best for run in self.runs if (best := run_best(run, metric))]

    @property
    def cell_parameters(self) -> int | None:
        """Of the recurrent part; None while no run says."""
        return self._summarised("cell_parameters")

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


@dataclass(frozen=True)
class Comparison:
    """Groups side by side.

    Attributes:
        groups: in the order in which their first runs came.
        incomparable: why no difference between the groups can be read as the models'; empty where it can.
        remarks: lines that a reader has to know; `incomparable` is among them.
    """

    groups: tuple[Group, ...]
    incomparable: str
    remarks: tuple[str, ...]

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that occurs and is no clock, in order of appearance."""
        return tuple(name for name in self.fields if name not in CLOCKS)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every number that occurs in the runs' lines, but for `step` and `epoch`."""
        lines = (line for group in self.groups for run in group.runs for line in run.metrics)
        names = dict.fromkeys(name for line in lines for name, value in line.items() if _is_number(value))
        return tuple(name for name in names if name not in ("step", "epoch"))

    def floor(self, metric: str) -> float | None:
        """The generator's own value on the validation split, where all runs share one."""
        facts = [run.environment.get("data", {}) for group in self.groups for run in group.runs]
        floors = {fact.get("floor", {}).get("valid", {}).get(metric) for fact in facts}
        return floors.pop() if len(floors) == 1 else None


def compare(runs: Sequence[Run]) -> Comparison:
    """Gather runs into groups and say how far the groups can be compared.

    Runs belong together when nothing but `config.seeds` differs, nor the checksums of their data (with those, how
    `data.path` is spelled plays no part). A group is called by its name, and by what tells it from its namesakes.

    Raises:
        ConfigError: no runs, or runs of different tasks.
    """
    if not runs:
        raise ConfigError("compare: at least one run folder expected, none found")
    tasks = {run.config.get("task"): run.path for run in reversed(runs)}
    if len(tasks) > 1:
        (one, here), (other, there), *_ = reversed(tasks.items())
        raise ConfigError(f"compare: runs of one task expected, found {one} in {here} and {other} in {there}")
    members: list[tuple[dict[str, Any], list[Run]]] = []
    repeated = []
    # A finished run goes before an unfinished one of the same configuration and seeds.
    for run in sorted(runs, key=lambda run: run.summary is None):
        facts = _facts(run)
        mates = next((mates for known, mates in members if known == facts), None)
        if mates is None:
            members.append((facts, [run]))
        elif twin := next((mate for mate in mates if mate.config.get("seeds") == run.config.get("seeds")), None):
            repeated.append(f"left out: {run.path} has the configuration and seeds of {twin.path}")
        else:
            mates.append(run)
    order = {id(run): place for place, run in enumerate(runs)}
    members = [(facts, sorted(mates, key=lambda run: order[id(run)])) for facts, mates in members]
    members.sort(key=lambda member: order[id(member[1][0])])
    labels = _labels([facts for facts, _ in members])
    groups = tuple(Group(label, tuple(mates)) for label, (_, mates) in zip(labels, members, strict=True))
    incomparable = _told(labels, [_section(facts, "data") for facts, _ in members], "not comparable: the data differ")
    training = _told(labels, [_section(facts, "train") for facts, _ in members], "training differs")
    remarks = (incomparable, _cells_remark(groups), training, *_shortened(groups), *repeated)
    return Comparison(groups, incomparable, tuple(remark for remark in remarks if remark))


def run_curve(run: Run, split: str, metric: str) -> dict[int, float]:
    """A metric by step, where it is a finite number."""
    lines = (line for line in run.metrics if line.get("split") == split)
    return {int(line["step"]): float(line[metric]) for line in lines if _is_number(line.get(metric))}


def run_best(run: Run, metric: str) -> Best | None:
    """Where a run was best; None where the metric was never measured on the validation split."""
    valid = run_curve(run, "valid", metric)
    if not valid:
        return None
    step = (max if higher_is_better(metric) else min)(valid, key=valid.__getitem__)
    curve, summary = run_curve(run, "test", metric), run.summary or {}
    evaluated = summary.get("test", {}).get(metric)
    looks = len(curve) + (summary.get("test_looks", 1) if "test" in summary else 0)
    test = curve.get(step) if evaluated is None else evaluated
    return Best(step, valid[step], run_curve(run, "train", metric).get(step), test, looks)


def run_status(run: Run) -> str:
    """The summary's status; `unfinished` without one, as the run goes on or was killed."""
    return "unfinished" if run.summary is None else str(run.summary.get("status", "unfinished"))


def higher_is_better(metric: str) -> bool:
    """Whether a metric is the better the higher it is; losses, errors and perplexities are not."""
    return metric.endswith("accuracy")


def cells_differ(first: Group, second: Group) -> bool:
    """Whether two groups' cells are known to differ by more than `CELL_TOLERANCE`."""
    counts = sorted(count for group in (first, second) if (count := group.cell_parameters) is not None)
    return len(counts) == 2 and counts[1] > counts[0] * (1 + CELL_TOLERANCE)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _facts(run: Run) -> dict[str, Any]:
    """What the runs of a group have in common: dotted keys of the configuration, and checksums of the data."""
    facts = {key: value for key, value in flatten(run.config).items() if key.partition(".")[0] != "seeds"}
    checksums = run.environment.get("data", {}).get("checksums") or {}
    if checksums:
        facts.pop("data.path", None)
    return facts | {f"data.checksums.{name}": value for name, value in checksums.items()}


def _section(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section's keys, but for one that says how a step is run and not what it does."""
    return {key: facts[key] for key in facts if key.startswith(f"{name}.") and key != "train.steps_per_call"}


def _differing(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values differ, or that only some have."""
    keys = dict.fromkeys(key for fact in facts for key in fact)
    return [key for key in keys if any(key not in fact or fact[key] != facts[0].get(key) for fact in facts)]


def _labels(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names, each followed by the keys that tell it from its namesakes."""
    names = [str(fact.get("name") or "unnamed") for fact in facts]
    labels = []
    for name, fact in zip(names, facts, strict=True):
        namesakes = [other for other_name, other in zip(names, facts, strict=True) if other_name == name]
        told = [f"{key}={_short(key, fact[key])}" for key in _differing(namesakes) if key in fact]
        labels.append(" ".join([name, *told]))
    return labels


def _short(key: str, value: Any) -> Any:
    return str(value)[:8] if key.startswith("data.checksums.") else value


def _told(labels: Sequence[str], facts: Sequence[Mapping[str, Any]], opening: str) -> str:
    """A line on keys that differ, with each value and whose it is; empty where none does."""
    told = []
    for key in _differing(facts):
        values: dict[str, list[str]] = {}
        for label, fact in zip(labels, facts, strict=True):
            values.setdefault(str(_short(key, fact.get(key, "absent"))), []).append(label)
        told.append(f"{key} " + ", ".join(f"{value} ({'; '.join(whose)})" for value, whose in values.items()))
    return f"{opening}: {' · '.join(told)}" if told else ""


def _cells_remark(groups: Sequence[Group]) -> str:
    known = [group for group in groups if group.cell_parameters is not None]
    low = min(known, key=lambda group: group.cell_parameters or 0, default=None)
    high = max(known, key=lambda group: group.cell_parameters or 0, default=None)
    if low is None or high is None or not cells_differ(low, high):
        return ""
    return (
        f"cells of unequal cost: {low.cell_parameters:,} parameters in {low.label}, "
        f"{high.cell_parameters:,} in {high.label}"
    )


def _shortened(groups: Sequence[Group]) -> list[str]:
    """Lines on groups whose runs end at different steps, as their mean curve ends with the shortest."""
    remarks = []
    for group in groups:
        ends = [int(run.metrics[-1]["step"]) for run in group.runs if run.metrics]
        if ends and min(ends) < max(ends):
            remarks.append(f"{group.label}: runs end at steps {min(ends):,} to {max(ends):,}; its curve at the first")
    return remarks
