"""Groups of runs side by side, with their labels and remarks on how far they can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from nlstm_jax.analysis.curves import Group, run_status
from nlstm_jax.analysis.facts import (
    Facts,
    check_keys,
    facts_of,
    facts_of_all,
    labels_by,
    labels_of,
    merge_facts,
    questions_of,
    section_of,
    short_value,
    sort_key,
    suggest,
)
from nlstm_jax.analysis.remarks import (
    cells_remark,
    code_remark,
    difference_remark,
    different_ends_remarks,
    mixed_settings_remarks,
    models_remark,
)
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, is_number

CLOCKS = ("wall_seconds", "examples_per_second", "tokens_per_second")
"""Fields of a run's metric lines that measure time. They depend on the machine and get no verdict."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of groups of runs.

    Attributes:
        groups: The groups, in the order of their first runs, where finished runs come before others.
        code: A line with the commits of the runs, if they are not all one commit without changes. Otherwise empty.
        incomparable: The reason why a difference between groups says nothing about the models. Empty if there is none.
        remarks: Lines that a reader needs to know. They include `incomparable`.
        contrast: The labels of the two groups whose difference was named in advance as the one to judge.
    """

    groups: tuple[Group, ...]
    code: str
    incomparable: str
    remarks: tuple[str, ...]
    contrast: tuple[str, str] | None = None

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics that occur, without the clocks, in order of appearance."""
        return tuple(name for name in self.fields if name not in CLOCKS)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of all numbers in the runs' metric lines except `step` and `epoch`, in order of appearance."""
        names: dict[str, None] = {}
        for run in self._runs:
            for line in run.metrics:
                for name, value in line.items():
                    if is_number(value):
                        names.setdefault(name)
        return tuple(name for name in names if name not in ("step", "epoch"))

    def floor(self, metric: str) -> float | None:
        """Return the generator's own value of a metric on the validation split.

        Returns:
            None if the runs do not all share one value.
        """
        floors: set[float | None] = set()
        for run in self._runs:
            data = run.environment.get("data", {})
            floors.add(data.get("floor", {}).get("valid", {}).get(metric))
        if len(floors) > 1:
            return None
        return floors.pop()

    @property
    def labels(self) -> list[str]:
        """The labels of the groups."""
        return [group.label for group in self.groups]

    def named(self, contrast: tuple[str, str]) -> "Comparison":
        """Return a copy of the comparison in which one difference was named in advance.

        Args:
            contrast: The labels of the two groups.

        Raises:
            ConfigError: A label belongs to no group, or both labels are the same.
        """
        if contrast[0] == contrast[1]:
            raise ConfigError(f"contrast: two groups expected, found {contrast[0]!r} twice")
        for label in contrast:
            if label not in self.labels:
                expected = f"contrast: one of the groups {', '.join(self.labels)} expected"
                hint = suggest(label, self.labels, quoted=True)
                raise ConfigError(f"{expected}, found {label!r}{hint}")
        return replace(self, contrast=contrast)

    def check_metric(self, metric: str) -> None:
        """Check that the runs have a metric.

        Raises:
            ConfigError: The runs do not have it. The message names the metrics that they have.
        """
        if metric not in self.metrics:
            known = ", ".join(self.metrics) or "no metric yet"
            raise ConfigError(f"--metric={metric}: these runs have {known}{suggest(metric, self.metrics)}")

    @property
    def _runs(self) -> list[Run]:
        """The runs of all groups."""
        return [run for group in self.groups for run in group.runs]


class _Members(NamedTuple):
    """The runs of a group and the facts that they share.

    Attributes:
        shared: The facts that decide which runs belong to the group.
        runs: The runs of the group.
    """

    shared: Facts
    runs: list[Run]


def compare(
    runs: Sequence[Run], contrast: tuple[str, str] | None = None, by: Sequence[str] = (), notes: Sequence[str] = ()
) -> Comparison:
    """Gather runs into groups and describe how far the groups can be compared.

    Runs belong together if they differ in nothing but `config.seeds` and have the same checksums of their data. If
    there are checksums, the spelling of `data.path` is ignored. The label of a group is its name, followed by the
    settings in which it differs from groups of the same name.

    Args:
        runs: The runs of one task.
        contrast: The labels of two groups, if one difference was named before anyone looked at the runs.
        by: Settings as dotted keys. If given, runs belong together if they agree in these settings, whatever else
            differs. Two runs that both lack a setting agree in it.
        notes: Further remarks.

    Raises:
        ConfigError: There are no runs, the runs are of different tasks, or a group of the contrast does not exist.
    """
    if not runs:
        raise ConfigError("compare: at least one run folder expected, none found")
    _check_same_task(runs)

    members, repeated = _gather(runs, by)
    shared = [group.shared for group in members]
    labels = labels_by(shared, by) if by else labels_of(shared)
    groups = tuple(Group(label, tuple(group.runs)) for label, group in zip(labels, members, strict=True))

    merged = [merge_facts(facts_of_all(group.runs)) for group in members]
    data = [merge_facts(questions) for questions in questions_of([group.runs for group in members])]
    train = [section_of(facts, "train") for facts in merged]
    incomparable = difference_remark(labels, data, "not comparable: the data differ")
    remarks = (
        *notes,
        incomparable,
        cells_remark(groups),
        models_remark(groups),
        difference_remark(labels, train, "training differs"),
        *mixed_settings_remarks(groups),
        *different_ends_remarks(groups),
        *repeated,
    )

    comparison = Comparison(groups, code_remark(groups), incomparable, tuple(remark for remark in remarks if remark))
    if contrast:
        comparison = comparison.named(contrast)
    return comparison


def faceted(runs: Sequence[Run], key: str, flag: str = "--facet") -> dict[str, list[Run]]:
    """Split runs by the value of a setting, in the order of the values.

    Args:
        runs: The runs to split.
        key: The dotted key of the setting.
        flag: The command-line flag that the error message names.

    Returns:
        The runs by a title such as "cell.features=8".

    Raises:
        ConfigError: None of the runs has the setting.
    """
    check_keys(runs, [key], flag)
    pairs = [(facts_of(run).get(key), run) for run in runs]
    pairs.sort(key=lambda pair: sort_key(pair[0]))

    facets: dict[str, list[Run]] = {}
    for value, run in pairs:
        facets.setdefault(f"{key}={short_value(key, value)}", []).append(run)
    return facets


def code_lines(facets: Mapping[str, Comparison]) -> list[str]:
    """Return the lines on the commits of several comparisons, each line once."""
    return list(dict.fromkeys(comparison.code for comparison in facets.values() if comparison.code))


def _check_same_task(runs: Sequence[Run]) -> None:
    """Raise a ConfigError if the runs are not all of one task."""
    paths = {run.config.get("task"): run.path for run in reversed(runs)}
    if len(paths) > 1:
        (one, one_path), (other, other_path), *_ = reversed(paths.items())
        raise ConfigError(
            f"compare: runs of one task expected, found {one} in {one_path} and {other} in {other_path}; "
            "a narrower pattern names the runs of one task"
        )


def _gather(runs: Sequence[Run], by: Sequence[str]) -> tuple[list[_Members], list[str]]:
    """Return the runs by group, and a remark on each run that repeats another one and is left out."""
    groups: list[_Members] = []
    remarks = []
    # Finished runs come first: of two runs with the same configuration and seeds, the finished one is kept.
    for run in sorted(runs, key=lambda run: run_status(run) != "finished"):
        facts = facts_of(run)
        shared = facts
        if by:
            shared = {key: facts[key] for key in by if key in facts}
        group = next((group for group in groups if group.shared == shared), None)
        if group is None:
            group = _Members(shared, [])
            groups.append(group)

        duplicate = _find_duplicate(run, facts, group.runs)
        if duplicate is None:
            group.runs.append(run)
        else:
            remarks.append(f"left out: {run.path} has the configuration and the seeds of {duplicate.path}")
    return groups, remarks


def _find_duplicate(run: Run, facts: Facts, others: Sequence[Run]) -> Run | None:
    """Return the first of the other runs that has the same seeds and facts, or None."""
    seeds = run.config.get("seeds")
    for other in others:
        if other.config.get("seeds") == seeds and facts_of(other) == facts:
            return other
    return None
