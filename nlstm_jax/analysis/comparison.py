"""Groups of runs side by side: who is in which, what they are called, and how far they can be compared."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nlstm_jax.analysis.curves import Group, is_number, run_status
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, flatten

CLOCKS = ("wall_seconds", "examples_per_second", "tokens_per_second")
CELL_TOLERANCE = 0.01
"""Cells whose numbers of parameters are further apart, as a part of the smaller, are not of equal cost."""
MODEL_TOLERANCE = 0.02
"""The same of whole models."""
UNKNOWN = "unknown"
"""The commit of a run that was made outside of a checkout."""


@dataclass(frozen=True)
class Comparison:
    """Groups side by side.

    Attributes:
        groups: in the order in which their first runs came, finished ones first.
        code: which commits the runs were made at, where that is not one commit without changes; else empty.
        incomparable: why no difference between the groups can be read as the models'; empty where it can.
        remarks: lines that a reader has to know; `incomparable` is among them.
        contrast: the labels of two groups whose difference was named in advance as the one to be judged.
    """

    groups: tuple[Group, ...]
    code: str
    incomparable: str
    remarks: tuple[str, ...]
    contrast: tuple[str, str] | None = None

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that occurs and is no clock, in order of appearance."""
        return tuple(name for name in self.fields if name not in CLOCKS)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every number that occurs in the runs' lines, but for `step` and `epoch`."""
        lines = (line for group in self.groups for run in group.runs for line in run.metrics)
        names = dict.fromkeys(name for line in lines for name, value in line.items() if is_number(value))
        return tuple(name for name in names if name not in ("step", "epoch"))

    def floor(self, metric: str) -> float | None:
        """The generator's own value on the validation split, where all runs share one."""
        facts = [run.environment.get("data", {}) for group in self.groups for run in group.runs]
        floors = {fact.get("floor", {}).get("valid", {}).get(metric) for fact in facts}
        return floors.pop() if len(floors) == 1 else None

    @property
    def labels(self) -> list[str]:
        """Of the groups."""
        return [group.label for group in self.groups]

    def named(self, contrast: tuple[str, str]) -> "Comparison":
        """The same, with a difference that was named in advance.

        Raises:
            ConfigError: a label of no group here.
        """
        if contrast[0] == contrast[1]:
            raise ConfigError(f"contrast: two groups expected, found {contrast[0]!r} twice")
        for label in contrast:
            if label not in self.labels:
                near = difflib.get_close_matches(label, self.labels, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(
                    f"contrast: one of the groups {', '.join(self.labels)} expected, found {label!r}{hint}"
                )
        return replace(self, contrast=contrast)

    def check_metric(self, metric: str) -> None:
        """Raise a ConfigError that names the metrics there are, if `metric` is none of them."""
        if metric not in self.metrics:
            near = difflib.get_close_matches(metric, self.metrics, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            known = ", ".join(self.metrics) or "no metric yet"
            raise ConfigError(f"--metric={metric}: these runs have {known}{hint}")


def compare(
    runs: Sequence[Run], contrast: tuple[str, str] | None = None, by: Sequence[str] = (), notes: Sequence[str] = ()
) -> Comparison:
    """Gather runs into groups and say how far the groups can be compared.

    Runs belong together when nothing but `config.seeds` differs, nor the checksums of their data (with those, how
    `data.path` is spelled plays no part). A group is called by its name, and by what tells it from its namesakes.

    Args:
        runs: of one task.
        contrast: the labels of two groups, if one difference was named before the runs were looked at.
        by: settings, as dotted keys; if given, runs belong together that agree in these, whatever else differs;
            those that have no such setting agree too.
        notes: further remarks.

    Raises:
        ConfigError: no runs, runs of different tasks, or a contrast of groups that are not there.
    """
    if not runs:
        raise ConfigError("compare: at least one run folder expected, none found")
    tasks = {run.config.get("task"): run.path for run in reversed(runs)}
    if len(tasks) > 1:
        (one, here), (other, there), *_ = reversed(tasks.items())
        raise ConfigError(f"compare: runs of one task expected, found {one} in {here} and {other} in {there}")
    facts: list[dict[str, Any]] = []
    members: list[list[Run]] = []
    repeated = []
    # Of two runs with the same configuration and seeds the finished one is kept.
    for run in sorted(runs, key=lambda run: run_status(run) != "finished"):
        whole = facts_of(run)
        own = {key: whole[key] for key in by if key in whole} if by else whole
        if own not in facts:
            facts.append(own)
            members.append([])
        mates = members[facts.index(own)]
        seeds = run.config.get("seeds")
        twin = next((mate for mate in mates if mate.config.get("seeds") == seeds and facts_of(mate) == whole), None)
        if twin:
            repeated.append(f"left out: {run.path} has the configuration and the seeds of {twin.path}")
        else:
            mates.append(run)
    labels = (
        [", ".join(f"{key}={_short(key, value)}" for key, value in fact.items()) or f"no {by[0]}" for fact in facts]
        if by
        else labels_of(facts)
    )
    wholes = [_merged([facts_of(run) for run in mates]) for mates in members]
    groups = tuple(Group(label, tuple(mates)) for label, mates in zip(labels, members, strict=True))
    data, train = ([_section(fact, name) for fact in wholes] for name in ("data", "train"))
    incomparable = _told(labels, data, "not comparable: the data differ")
    training = _told(labels, train, "training differs")
    remarks = (
        *notes,
        incomparable,
        _cells_remark(groups),
        _models_remark(groups),
        training,
        *_mixed(groups),
        *_shortened(groups),
        *repeated,
    )
    comparison = Comparison(groups, _code_remark(groups), incomparable, tuple(remark for remark in remarks if remark))
    return comparison.named(contrast) if contrast else comparison


def faceted(runs: Sequence[Run], key: str, flag: str = "--facet") -> dict[str, list[Run]]:
    """Runs by the value of a setting, in order.

    Raises:
        ConfigError: no such setting.
    """
    check_keys(runs, [key], flag)
    facts = [facts_of(run) for run in runs]
    found: dict[str, list[Run]] = {}
    for run, fact in sorted(zip(runs, facts, strict=True), key=lambda pair: _in_order(pair[1].get(key))):
        found.setdefault(f"{key}={_short(key, fact.get(key))}", []).append(run)
    return found


def check_keys(runs: Sequence[Run], keys: Sequence[str], flag: str) -> None:
    """Raise a ConfigError that names the first key which is a setting of none of the runs."""
    known = {name for run in runs for name in facts_of(run)} if keys else set()
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{flag}={key}: a setting of these runs, such as cell.name, expected{hint}")


def cells_differ(first: Group, second: Group) -> bool:
    """Whether two groups' cells differ by more than `CELL_TOLERANCE` as far as is known, at no other common budget."""
    if first.budget and first.budget == second.budget:
        return False
    counts = sorted(count for group in (first, second) if (count := group.cell_parameters) is not None)
    return len(counts) == 2 and counts[1] > counts[0] * (1 + CELL_TOLERANCE)


def models_differ(first: Group, second: Group) -> bool:
    """Whether two groups' whole models differ by more than `MODEL_TOLERANCE`, as far as is known."""
    counts = sorted(count for group in (first, second) if (count := group.parameters) is not None)
    return len(counts) == 2 and counts[1] > counts[0] * (1 + MODEL_TOLERANCE)


def commit_of(run: Run) -> str:
    """The commit that a run was made at, and whether there were changes beside it; `UNKNOWN` without one."""
    commit = run.environment.get("commit")
    if not commit:
        return UNKNOWN
    return commit[:10] + (" with uncommitted changes" if run.environment.get("uncommitted_diff") else "")


def facts_of(run: Run) -> dict[str, Any]:
    """What the runs of a group have in common: dotted keys of the configuration, and checksums of the data."""
    facts = {key: value for key, value in flatten(run.config).items() if key.partition(".")[0] != "seeds"}
    checksums = run.environment.get("data", {}).get("checksums") or {}
    if checksums:
        facts.pop("data.path", None)
    return facts | {f"data.checksums.{name}": value for name, value in checksums.items()}


def _merged(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the runs of a group agree in, and for the rest all values."""
    merged = dict(facts[0])
    for key in _differing(facts):
        merged[key] = " | ".join(sorted({str(_short(key, fact.get(key, "absent"))) for fact in facts}))
    return merged


def _mixed(groups: Sequence[Group]) -> list[str]:
    """Lines on groups whose runs differ in more than their seeds."""
    found = [(group.label, _differing([facts_of(run) for run in group.runs])) for group in groups]
    return [f"{label}: its runs differ in {', '.join(keys)}" for label, keys in found if keys]


def _in_order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then texts."""
    return (not is_number(value), float(value) if is_number(value) else 0.0, str(value))


def _section(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section's keys, but for one that says how a step is run and not what it does."""
    return {key: facts[key] for key in facts if key.startswith(f"{name}.") and key != "train.steps_per_call"}


def _differing(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values differ, or that only some have."""
    keys = dict.fromkeys(key for fact in facts for key in fact)
    return [key for key in keys if any(key not in fact or fact[key] != facts[0].get(key) for fact in facts)]


def labels_of(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names, each followed by the keys that tell it from its namesakes."""
    names = [str(fact.get("name") or "unnamed") for fact in facts]
    labels = []
    for name, fact in zip(names, facts, strict=True):
        namesakes = [other for other_name, other in zip(names, facts, strict=True) if other_name == name]
        told = [f"{key}={_short(key, fact[key])}" for key in _differing(namesakes) if key in fact]
        labels.append(" ".join([name, *told]))
    return labels


def _short(key: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
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


def code_lines(facets: Mapping[str, Comparison]) -> list[str]:
    """What several comparisons have to say of their runs' commits, each line once."""
    return list(dict.fromkeys(comparison.code for comparison in facets.values() if comparison.code))


def _models_remark(groups: Sequence[Group]) -> str:
    known = [group for group in groups if group.parameters is not None]
    low = min(known, key=lambda group: group.parameters or 0, default=None)
    high = max(known, key=lambda group: group.parameters or 0, default=None)
    if low is None or high is None or not models_differ(low, high):
        return ""
    return (
        f"whole models of unequal size: {low.parameters:,} parameters in {low.label}, "
        f"{high.parameters:,} in {high.label}"
    )


def _code_remark(groups: Sequence[Group]) -> str:
    """The commits of each group, where they are not all one commit without changes."""
    commits = {group.label: sorted({commit_of(run) for run in group.runs}) for group in groups}
    all_commits = {commit for each in commits.values() for commit in each}
    if len(all_commits) == 1 and "changes" not in next(iter(all_commits)):
        return ""
    told = "; ".join(f"{label} {', '.join(each)}" for label, each in commits.items())
    return f"NOT OF ONE COMMIT: {told}"


def _shortened(groups: Sequence[Group]) -> list[str]:
    """Lines on groups whose runs end at different steps, as their mean curve ends with the shortest."""
    remarks = []
    for group in groups:
        ends = [int(run.metrics[-1]["step"]) for run in group.runs if run.metrics]
        if ends and min(ends) < max(ends):
            span = f"{min(ends):,} to {max(ends):,}"
            remarks.append(f"{group.label}: runs end at steps {span}; the mean curve ends with the first of them")
    return remarks
