"""The verdict of a comparison as a sentence that claims no more than the seeds allow."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from nlstm_jax.analysis.bootstrap import two_way_bootstrap
from nlstm_jax.analysis.comparison import Comparison
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.remarks import cells_differ, models_differ
from nlstm_jax.analysis.statistics import LEVEL, estimate, format_estimate, holm, seeds_to_resolve, welch
from nlstm_jax.runs import Run, examples_path

_MAX_LISTED = 10
"""The number of exploratory differences that are listed one by one. Any others are only counted."""


def verdict(comparison: Comparison, metric: str) -> str:
    """Return a sentence on the difference between two groups, judged by Welch's t-interval.

    The two groups are those that were named in advance, otherwise the best group and the next one. The values are the
    best validation values of the runs.

    If there are more groups, the differences of all other pairs are exploratory. Holm's correction applies to all
    pairs except the one that was named in advance, and a difference counts as resolved if it is after the correction.

    The sentence also names what weakens the verdict: cells of unequal cost and runs that did not finish. There is no
    verdict if the data differ, or if a group has one seed, because one seed has no interval.
    """
    measured = [group for group in comparison.groups if group.bests(metric)]
    if not measured:
        return f"No verdict: no run has a valid {metric}."
    if comparison.incomparable:
        return f"No verdict: {comparison.incomparable}."
    if len(measured) == 1:
        return f"No verdict: {measured[0].label} is the only group with a valid {metric}."

    measured.sort(
        key=lambda group: estimate(_values(group, metric)).value, reverse=measured[0].higher_is_better(metric)
    )
    pairs = list(itertools.combinations(measured, 2))
    if comparison.contrast is None:
        p_values: dict[tuple[str, str], float] = {}
        if len(measured) > 2:
            p_values = _corrected_p_values(pairs, metric)
        return f"{_judge(measured[0], measured[1], metric, p_values)}."

    named = [group for group in measured if group.label in comparison.contrast]
    if len(named) < 2:
        return f"No verdict on {' vs '.join(comparison.contrast)}, named in advance: one has no valid {metric}."
    better, worse = named
    others = [pair for pair in pairs if pair != (better, worse)]
    return f"Named in advance: {_judge(better, worse, metric, {})}.{_exploratory_sentence(others, metric)}"


def _judge(better: Group, worse: Group, metric: str, p_values: Mapping[tuple[str, str], float]) -> str:
    """Return the difference of two groups and its caveats, without a period."""
    return "; ".join([_difference(better, worse, metric, p_values), *_caveats(better, worse)])


def _corrected_p_values(pairs: Sequence[tuple[Group, Group]], metric: str) -> dict[tuple[str, str], float]:
    """Return the p-values of the pairs that have one, after Holm's correction, by the labels of the two groups."""
    p_values = {}
    for better, worse in pairs:
        difference = welch(_values(better, metric), _values(worse, metric))
        if difference:
            p_values[better.label, worse.label] = difference.p
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _exploratory_sentence(pairs: Sequence[tuple[Group, Group]], metric: str) -> str:
    """Return a sentence on the pairs that were not named in advance, or an empty text if there are none."""
    if not pairs:
        return ""
    p_values = _corrected_p_values(pairs, metric)
    sorted_pairs = sorted((p, f"{better} over {worse} (p = {p:.2g})") for (better, worse), p in p_values.items())
    resolved = [text for p, text in sorted_pairs if p < 1 - LEVEL]

    listed = ", ".join(resolved[:_MAX_LISTED]) or "none is resolved"
    if len(resolved) > _MAX_LISTED:
        listed += f" and {len(resolved) - _MAX_LISTED:,} more"
    untested = ""
    if len(p_values) < len(pairs):
        untested = f" ({len(pairs) - len(p_values)} more have too few seeds)"
    return f" Exploratory, after Holm's correction for {len(p_values)} other pairs{untested}: {listed}."


def _difference(better: Group, worse: Group, metric: str, p_values: Mapping[tuple[str, str], float]) -> str:
    """Return by how much a group is better than another, and whether the difference is resolved.

    Args:
        better: The group with the better mean.
        worse: The other group.
        metric: The metric to compare the groups by.
        p_values: Corrected p-values by the labels of the groups. Empty if there is no correction.
    """
    better_values = _values(better, metric)
    worse_values = _values(worse, metric)
    direction = "higher" if better.higher_is_better(metric) else "lower"
    opening = f"{better.label} reaches a valid {metric} {direction} than {worse.label} by "
    unit = better.runs[0].unit(metric)
    amount = abs(estimate(better_values).value - estimate(worse_values).value)
    difference = welch(better_values, worse_values)
    if difference is None:
        return f"{opening}{_with_unit(amount, None, unit)} ({_why_no_interval(better, worse, metric)})"

    counted = "seeds"
    if _repeats_seeds(better) or _repeats_seeds(worse):
        counted = "runs, taken for independent"
    interval = f"95 % t-interval, {len(better_values)} and {len(worse_values)} {counted}"
    interval += _bootstrap_clause(better, worse, metric)
    opening += f"{_with_unit(amount, difference.half_width, unit)} ({interval}): "

    if difference.resolved:
        p = p_values.get((better.label, worse.label))
        if p is None:
            return f"{opening}the difference is resolved"
        correction = f"after Holm's correction for all {len(p_values)} pairs (p = {p:.2g})"
        if p >= 1 - LEVEL:
            return f"{opening}the difference is not resolved {correction}"
        return f"{opening}the difference is resolved {correction}"

    seeds = seeds_to_resolve(better_values, worse_values)
    if seeds is None:
        return f"{opening}the interval includes 0"
    return f"{opening}the interval includes 0; about {seeds:,} seeds each would resolve it"


def _repeats_seeds(group: Group) -> bool:
    """Return True if two runs of a group have the same seeds.

    That is possible in a group whose runs differ in more than their seeds.
    """
    return len({_seeds(run) for run in group.runs}) < len(group.runs)


def _bootstrap_clause(better: Group, worse: Group, metric: str) -> str:
    """Return a clause with the interval over seeds and examples, if the values of all examples are known."""
    better_examples = better.by_example(metric)
    worse_examples = worse.by_example(metric)
    unavailable = f"; no bootstrap over examples, as not all runs have the {metric} of each at their best step"
    if better_examples is None or worse_examples is None:
        has_examples = any(examples_path(run.path, "valid").exists() for run in (*better.runs, *worse.runs))
        return unavailable if has_examples else ""
    better_sums, better_weights = better_examples
    worse_sums, worse_weights = worse_examples
    if not np.array_equal(better_weights, worse_weights):
        return unavailable

    difference = two_way_bootstrap(better_sums, worse_sums, better_weights)
    _, _, half_width = format_estimate(difference.value, difference.half_width).partition(" ± ")
    clause = f"; crossed with a bootstrap over {difference.examples:,} examples it is ± {half_width}"
    if abs(difference.value) <= difference.half_width:
        clause += ", so that other examples may say otherwise"
    return clause


def _why_no_interval(better: Group, worse: Group, metric: str) -> str:
    """Return the reason why there is no interval around the difference of two groups."""
    single = [group.label for group in (better, worse) if len(_values(group, metric)) == 1]
    if len(single) == 2:
        return "one seed each: no interval, so no verdict"
    if single:
        return f"one seed of {single[0]}: no interval, so no verdict"
    return "the seeds of either group agree exactly: no interval, so no verdict"


def _caveats(better: Group, worse: Group) -> list[str]:
    """Return clauses on what weakens the verdict."""
    caveats = []
    if cells_differ(better, worse):
        ratio = (better.cell_parameters or 0) / (worse.cell_parameters or 1)
        caveats.append(f"not at equal cost, as its cell has {_more_or_fewer(ratio)} parameters")
    if models_differ(better, worse):
        ratio = (better.parameters or 0) / (worse.parameters or 1)
        caveats.append(f"its whole model has {_more_or_fewer(ratio)} parameters")
    for group in (better, worse):
        unfinished = [f"{count} {status}" for status, count in group.statuses.items() if status != "finished"]
        if unfinished:
            plural = "" if len(group.runs) == 1 else "s"
            runs = f"{len(group.runs)} run{plural}"
            caveats.append(f"provisional: of {runs} of {group.label}, {', '.join(unfinished)}")
    return caveats


def _more_or_fewer(ratio: float) -> str:
    """Return a ratio as a percentage more or fewer, for example "12 % more"."""
    text = f"{ratio - 1:.0%} more" if ratio > 1 else f"{1 - ratio:.0%} fewer"
    return text.replace("%", " %")


def _values(group: Group, metric: str) -> list[float]:
    """Return the best validation value of each run."""
    return [best.valid for best in group.bests(metric)]


def _seeds(run: Run) -> str:
    """Return the seeds of a run as text that can be compared."""
    return str(sorted(run.config.get("seeds", {}).items()))


def _with_unit(amount: float, half_width: float | None, unit: str) -> str:
    """Return an amount as text, with its half-width and its unit."""
    return f"{format_estimate(amount, half_width)} {unit}".rstrip()
