"""Remarks on how far groups of runs can be compared."""

from collections.abc import Callable, Sequence

from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.facts import Facts, commit_of, differing_keys, facts_of_all, short_value

CELL_TOLERANCE = 0.01
"""The largest relative difference in the number of parameters at which two cells count as of equal cost."""

MODEL_TOLERANCE = 0.02
"""The largest relative difference in the number of parameters at which two whole models count as of equal size."""


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


def difference_remark(labels: Sequence[str], facts: Sequence[Facts], opening: str) -> str:
    """Return a line on the keys that differ, with each value and the groups that have it.

    Returns:
        An empty text if no key differs.
    """
    differences = []
    for key in differing_keys(facts):
        groups_by_value: dict[str, list[str]] = {}
        for label, fact in zip(labels, facts, strict=True):
            value = str(short_value(key, fact.get(key, "absent")))
            groups_by_value.setdefault(value, []).append(label)
        values = [f"{value} ({'; '.join(groups)})" for value, groups in groups_by_value.items()]
        differences.append(f"{key} " + ", ".join(values))
    if not differences:
        return ""
    return f"{opening}: {' · '.join(differences)}"


def cells_remark(groups: Sequence[Group]) -> str:
    """Return a line on the smallest and the largest cell if they are of unequal cost, otherwise an empty text."""
    sizes = [group.cell_parameters for group in groups]
    return _sizes_remark(groups, sizes, cells_differ, "cells of unequal cost")


def models_remark(groups: Sequence[Group]) -> str:
    """Return a line on the smallest and the largest model if they are of unequal size, otherwise an empty text."""
    sizes = [group.parameters for group in groups]
    return _sizes_remark(groups, sizes, models_differ, "whole models of unequal size")


def _sizes_remark(
    groups: Sequence[Group], sizes: Sequence[int | None], differ: Callable[[Group, Group], bool], opening: str
) -> str:
    """Return a line on the groups of the smallest and the largest known size, if they differ."""
    known = [(size, group) for size, group in zip(sizes, groups, strict=True) if size is not None]
    if not known:
        return ""
    low_size, low = min(known, key=lambda pair: pair[0])
    high_size, high = max(known, key=lambda pair: pair[0])
    if not differ(low, high):
        return ""
    return f"{opening}: {low_size:,} parameters in {low.label}, {high_size:,} in {high.label}"


def mixed_settings_remarks(groups: Sequence[Group]) -> list[str]:
    """Return lines on the groups whose runs differ in more than their seeds."""
    remarks = []
    for group in groups:
        keys = differing_keys(facts_of_all(group.runs))
        if keys:
            remarks.append(f"{group.label}: its runs differ in {', '.join(keys)}")
    return remarks


def different_ends_remarks(groups: Sequence[Group]) -> list[str]:
    """Return lines on the groups whose runs end at different steps, because the mean curve ends with the shortest."""
    remarks = []
    for group in groups:
        ends = [int(run.metrics[-1]["step"]) for run in group.runs if run.metrics]
        if ends and min(ends) < max(ends):
            span = f"{min(ends):,} to {max(ends):,}"
            remarks.append(f"{group.label}: runs end at steps {span}; the mean curve ends with the first of them")
    return remarks


def code_remark(groups: Sequence[Group]) -> str:
    """Return a line on the commits of each group.

    Returns:
        An empty text if all runs are of one commit without changes.
    """
    commits_by_label = {group.label: sorted({commit_of(run) for run in group.runs}) for group in groups}
    all_commits = {commit for commits in commits_by_label.values() for commit in commits}
    if len(all_commits) == 1:
        commit = all_commits.pop()
        return f"NOT COMMITTED: all runs are of {commit}" if "changes" in commit else ""
    groups_text = "; ".join(f"{label} {', '.join(commits)}" for label, commits in commits_by_label.items())
    return f"NOT OF ONE COMMIT: {groups_text}"


def _apart(first: int | None, second: int | None, tolerance: float) -> bool:
    """Return True if two numbers are known and the larger exceeds the smaller by more than the tolerance."""
    if first is None or second is None:
        return False
    return max(first, second) > min(first, second) * (1 + tolerance)
