"""Groups of runs side by side, with their labels and remarks on how far they can be compared."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from nlstm_jax.analysis.curves import Group, run_status
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import Run, flatten, is_number
from nlstm_jax.types import JsonObject

CLOCKS = ("wall_seconds", "examples_per_second", "tokens_per_second")
"""Fields of a run's metric lines that measure time. They depend on the machine and get no verdict."""

CELL_TOLERANCE = 0.01
"""The largest relative difference in the number of parameters at which two cells count as of equal cost."""

MODEL_TOLERANCE = 0.02
"""The largest relative difference in the number of parameters at which two whole models count as of equal size."""

UNKNOWN = "unknown"
"""The commit of a run that was made outside of a git checkout."""

Facts: TypeAlias = dict[str, Any]
"""The dotted keys of a run's configuration with their values, and the checksums of its data."""


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
                hint = _hint(label, self.labels, quoted=True)
                raise ConfigError(f"{expected}, found {label!r}{hint}")
        return replace(self, contrast=contrast)

    def check_metric(self, metric: str) -> None:
        """Check that the runs have a metric.

        Raises:
            ConfigError: The runs do not have it. The message names the metrics that they have.
        """
        if metric not in self.metrics:
            known = ", ".join(self.metrics) or "no metric yet"
            raise ConfigError(f"--metric={metric}: these runs have {known}{_hint(metric, self.metrics)}")

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
    labels = _labels_by(shared, by) if by else labels_of(shared)
    groups = tuple(Group(label, tuple(group.runs)) for label, group in zip(labels, members, strict=True))

    merged = [_merged(_facts_of_all(group.runs)) for group in members]
    data = [_merged(questions) for questions in _questions([group.runs for group in members])]
    train = [_section(facts, "train") for facts in merged]
    incomparable = _difference_remark(labels, data, "not comparable: the data differ")
    remarks = (
        *notes,
        incomparable,
        _cells_remark(groups),
        _models_remark(groups),
        _difference_remark(labels, train, "training differs"),
        *_mixed_settings_remarks(groups),
        *_different_ends_remarks(groups),
        *repeated,
    )

    comparison = Comparison(groups, _code_remark(groups), incomparable, tuple(remark for remark in remarks if remark))
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
    pairs.sort(key=lambda pair: _sort_key(pair[0]))

    facets: dict[str, list[Run]] = {}
    for value, run in pairs:
        facets.setdefault(f"{key}={_short(key, value)}", []).append(run)
    return facets


def check_keys(runs: Sequence[Run], keys: Sequence[str], flag: str) -> None:
    """Check that each key is a setting of at least one run.

    Raises:
        ConfigError: A key is a setting of none of the runs. The message names the first such key.
    """
    if not keys:
        return
    known = {name for run in runs for name in facts_of(run)}
    for key in keys:
        if key not in known:
            hint = _hint(key, sorted(known))
            raise ConfigError(f"{flag}={key}: a setting of these runs, such as cell.name, expected{hint}")


def cells_differ(first: Group, second: Group) -> bool:
    """Return True if the cells of two groups differ in size by more than `CELL_TOLERANCE`.

    Returns:
        False if a number of parameters is unknown, or if both widths were chosen by the same other budget.
    """
    if first.budget and first.budget == second.budget:
        return False
    return _apart(first.cell_parameters, second.cell_parameters, CELL_TOLERANCE)


def models_differ(first: Group, second: Group) -> bool:
    """Return True if the whole models of two groups differ in size by more than `MODEL_TOLERANCE`.

    Returns:
        False if a number of parameters is unknown.
    """
    return _apart(first.parameters, second.parameters, MODEL_TOLERANCE)


def commit_of(run: Run) -> str:
    """Return the commit that a run was made at, with a note on uncommitted changes, or `UNKNOWN` without a commit."""
    commit = run.environment.get("commit")
    if not commit:
        return UNKNOWN
    short = str(commit[:10])
    if run.environment.get("uncommitted_diff"):
        return f"{short} with uncommitted changes"
    return short


def facts_of(run: Run) -> Facts:
    """Return the dotted keys of a run's configuration without its seeds, and the checksums of its data.

    The runs of a group have these in common.
    """
    facts = {key: value for key, value in flatten(run.config).items() if key.partition(".")[0] != "seeds"}
    checksums = run.environment.get("data", {}).get("checksums") or {}
    if checksums:
        facts.pop("data.path", None)
    return facts | {f"data.checksums.{name}": value for name, value in checksums.items()}


def labels_of(facts: Sequence[Facts]) -> list[str]:
    """Return the name of each configuration, followed by the settings in which it differs from its namesakes."""
    by_name: dict[str, list[Facts]] = {}
    names = [str(fact.get("name") or "unnamed") for fact in facts]
    for name, fact in zip(names, facts, strict=True):
        by_name.setdefault(name, []).append(fact)

    labels = []
    for name, fact in zip(names, facts, strict=True):
        differing = [key for key in _differing(by_name[name]) if key in fact]
        settings = [f"{key}={_short(key, fact[key])}" for key in differing]
        labels.append(" ".join([name, *settings]))
    return labels


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


def _labels_by(facts: Sequence[Facts], by: Sequence[str]) -> list[str]:
    """Return the settings of each group as its label."""
    labels = []
    for fact in facts:
        settings = [f"{key}={_short(key, value)}" for key, value in fact.items()]
        labels.append(", ".join(settings) or f"no {by[0]}")
    return labels


def _facts_of_all(runs: Iterable[Run]) -> list[Facts]:
    """Return the facts of each run."""
    return [facts_of(run) for run in runs]


def _questions(groups: Sequence[Sequence[Run]]) -> list[list[Facts]]:
    """Return what decides the examples that each run is evaluated on, by group.

    It is the question that the run's task has declared. If a run of an earlier version has declared none, it is the
    section `data` of all runs. The version of its question is 1.
    """
    if all(run.question for runs in groups for run in runs):
        return [[_question_facts(run.question or {}) for run in runs] for runs in groups]
    return [[_data_facts(run) for run in runs] for runs in groups]


def _data_facts(run: Run) -> Facts:
    """Return the section `data` of a run, and the version of its question."""
    version = run.question["version"] if run.question else 1
    return {"question.version": version, **_section(facts_of(run), "data")}


def _question_facts(question: JsonObject) -> Facts:
    """Return the version, the settings and the checksums of a question."""
    checksums = {f"data.checksums.{name}": value for name, value in question["checksums"].items()}
    return {"question.version": question["version"], **question["settings"], **checksums}


def _merged(facts: Sequence[Facts]) -> Facts:
    """Return the facts that all runs of a group agree in, and for each other key all values as one text."""
    merged = dict(facts[0])
    for key in _differing(facts):
        values = {str(_short(key, fact.get(key, "absent"))) for fact in facts}
        merged[key] = " | ".join(sorted(values))
    return merged


def _section(facts: Facts, name: str) -> Facts:
    """Return the keys of one section of the configuration.

    `train.steps_per_call` is left out: it changes how a step is run, not what it computes.
    """
    return {key: facts[key] for key in facts if key.startswith(f"{name}.") and key != "train.steps_per_call"}


def _differing(facts: Sequence[Facts]) -> list[str]:
    """Return the keys whose values differ, or that only some have."""
    first = facts[0]
    differing = []
    for key in dict.fromkeys(key for fact in facts for key in fact):
        if any(key not in fact or fact[key] != first.get(key) for fact in facts):
            differing.append(key)
    return differing


def _sort_key(value: object) -> tuple[bool, float, str]:
    """Return a key that sorts numbers by size, and texts after them."""
    if is_number(value):
        return (False, float(value), str(value))
    return (True, 0.0, str(value))


def _short(key: str, value: object) -> object:
    """Return a value as a label shows it: a list without brackets, a checksum by its first eight digits."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if key.startswith("data.checksums."):
        return str(value)[:8]
    return value


def _hint(name: str, known: Sequence[str], *, quoted: bool = False) -> str:
    """Return the end of an error message that suggests the known name most similar to `name`.

    Returns:
        An empty text if no known name is similar.
    """
    matches = difflib.get_close_matches(name, known, n=1)
    if not matches:
        return ""
    match = repr(matches[0]) if quoted else matches[0]
    return f"; did you mean {match}?"


def _apart(first: int | None, second: int | None, tolerance: float) -> bool:
    """Return True if two numbers are known and the larger exceeds the smaller by more than the tolerance."""
    if first is None or second is None:
        return False
    return max(first, second) > min(first, second) * (1 + tolerance)


def _difference_remark(labels: Sequence[str], facts: Sequence[Facts], opening: str) -> str:
    """Return a line on the keys that differ, with each value and the groups that have it.

    Returns:
        An empty text if no key differs.
    """
    differences = []
    for key in _differing(facts):
        groups_by_value: dict[str, list[str]] = {}
        for label, fact in zip(labels, facts, strict=True):
            value = str(_short(key, fact.get(key, "absent")))
            groups_by_value.setdefault(value, []).append(label)
        values = [f"{value} ({'; '.join(groups)})" for value, groups in groups_by_value.items()]
        differences.append(f"{key} " + ", ".join(values))
    if not differences:
        return ""
    return f"{opening}: {' · '.join(differences)}"


def _cells_remark(groups: Sequence[Group]) -> str:
    """Return a line on the smallest and the largest cell if they are of unequal cost, otherwise an empty text."""
    known = [group for group in groups if group.cell_parameters is not None]
    low = min(known, key=lambda group: group.cell_parameters or 0, default=None)
    high = max(known, key=lambda group: group.cell_parameters or 0, default=None)
    if low is None or high is None or not cells_differ(low, high):
        return ""
    return (
        f"cells of unequal cost: {low.cell_parameters:,} parameters in {low.label}, "
        f"{high.cell_parameters:,} in {high.label}"
    )


def _models_remark(groups: Sequence[Group]) -> str:
    """Return a line on the smallest and the largest model if they are of unequal size, otherwise an empty text."""
    known = [group for group in groups if group.parameters is not None]
    low = min(known, key=lambda group: group.parameters or 0, default=None)
    high = max(known, key=lambda group: group.parameters or 0, default=None)
    if low is None or high is None or not models_differ(low, high):
        return ""
    return (
        f"whole models of unequal size: {low.parameters:,} parameters in {low.label}, "
        f"{high.parameters:,} in {high.label}"
    )


def _mixed_settings_remarks(groups: Sequence[Group]) -> list[str]:
    """Return lines on the groups whose runs differ in more than their seeds."""
    remarks = []
    for group in groups:
        keys = _differing(_facts_of_all(group.runs))
        if keys:
            remarks.append(f"{group.label}: its runs differ in {', '.join(keys)}")
    return remarks


def _different_ends_remarks(groups: Sequence[Group]) -> list[str]:
    """Return lines on the groups whose runs end at different steps, because the mean curve ends with the shortest."""
    remarks = []
    for group in groups:
        ends = [int(run.metrics[-1]["step"]) for run in group.runs if run.metrics]
        if ends and min(ends) < max(ends):
            span = f"{min(ends):,} to {max(ends):,}"
            remarks.append(f"{group.label}: runs end at steps {span}; the mean curve ends with the first of them")
    return remarks


def _code_remark(groups: Sequence[Group]) -> str:
    """Return a line on the commits of each group.

    Returns:
        An empty text if all runs are of one commit without changes.
    """
    commits_by_label = {group.label: sorted({commit_of(run) for run in group.runs}) for group in groups}
    all_commits = {commit for commits in commits_by_label.values() for commit in commits}
    if len(all_commits) == 1 and "changes" not in next(iter(all_commits)):
        return ""
    groups_text = "; ".join(f"{label} {', '.join(commits)}" for label, commits in commits_by_label.items())
    return f"NOT OF ONE COMMIT: {groups_text}"
