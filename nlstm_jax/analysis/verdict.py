"""What the comparison says, in one sentence that claims no more than the seeds allow."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from nlstm_jax.analysis.bootstrap import two_way_bootstrap
from nlstm_jax.analysis.comparison import Comparison, cells_differ, models_differ
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.statistics import LEVEL, estimate, format_estimate, holm, seeds_to_resolve, welch
from nlstm_jax.runs import Run, higher_is_better

_TOLD = 10
"""So many differences are told one by one."""


def verdict(comparison: Comparison, metric: str) -> str:
    """The difference that was named in advance, else the best group against the next, by Welch's t-interval.

    It is over the best validation values of the runs. Of several groups all other pairs are exploratory: a difference
    counts as resolved if it is after Holm's correction for all pairs but the one that was named. What weakens the
    verdict is said too: cells of unequal cost, runs that did not finish. With other data there is no verdict, and with
    one seed none either, as one seed has no interval.
    """
    measured = [group for group in comparison.groups if group.bests(metric)]
    if not measured:
        return f"No verdict: no run has a valid {metric}."
    if comparison.incomparable:
        return f"No verdict: {comparison.incomparable}."
    if len(measured) == 1:
        return f"No verdict: {measured[0].label} is the only group with a valid {metric}."
    measured.sort(key=lambda group: estimate(_values(group, metric)).value, reverse=higher_is_better(metric))
    named = [group for group in measured if group.label in (comparison.contrast or ())]
    if comparison.contrast and len(named) < 2:
        return f"No verdict on {' vs '.join(comparison.contrast)}, named in advance: one has no valid {metric}."
    if not named:
        best, following = measured[:2]
        corrected = _corrected(list(itertools.combinations(measured, 2)), metric)
        sentence = _difference(best, following, metric, corrected if len(measured) > 2 else {})
        return "; ".join([sentence, *_caveats(best, following)]) + "."
    best, following = named
    told = "; ".join([_difference(best, following, metric, {}), *_caveats(best, following)])
    others = [pair for pair in itertools.combinations(measured, 2) if pair != (best, following)]
    return f"Named in advance: {told}.{_exploratory(others, metric)}"


def _corrected(pairs: Sequence[tuple[Group, Group]], metric: str) -> dict[tuple[str, str], float]:
    """The p-values of pairs that have one, after Holm's correction, by the groups' labels."""
    found = {
        (better.label, worse.label): welched.p
        for better, worse in pairs
        if (welched := welch(_values(better, metric), _values(worse, metric)))
    }
    return dict(zip(found, holm(list(found.values())), strict=True))


def _exploratory(pairs: Sequence[tuple[Group, Group]], metric: str) -> str:
    """What the pairs that nobody named in advance show."""
    if not pairs:
        return ""
    corrected = _corrected(pairs, metric)
    resolved = sorted((p, f"{better} over {worse} (p = {p:.2g})") for (better, worse), p in corrected.items())
    told = [text for p, text in resolved if p < 1 - LEVEL]
    more = f" and {len(told) - _TOLD:,} more" if len(told) > _TOLD else ""
    listed = ", ".join(told[:_TOLD]) + more if told else "none is resolved"
    untested = f" ({len(pairs) - len(corrected)} more have too few seeds)" if len(corrected) < len(pairs) else ""
    return f" Exploratory, after Holm's correction for {len(corrected)} other pairs{untested}: {listed}."


def unit(metric: str) -> str:
    """What a metric is counted in; empty where it is a plain number."""
    return "nats" if metric.startswith("log_loss") else ""


def _difference(best: Group, following: Group, metric: str, corrected: Mapping[tuple[str, str], float]) -> str:
    """Which group is better by how much, and whether that is resolved, by corrected p-values if there are any."""
    ours, theirs = _values(best, metric), _values(following, metric)
    direction = "higher" if higher_is_better(metric) else "lower"
    opening = f"{best.label} reaches a valid {metric} {direction} than {following.label} by "
    amount = abs(estimate(ours).value - estimate(theirs).value)
    welched = welch(ours, theirs)
    if welched is None:
        return f"{opening}{_measure(amount, None, metric)} ({_why_no_interval(best, following, metric)})"
    # Of a group whose runs differ in more than their seeds, several may share one.
    mixed = any(len({_seeds(run) for run in group.runs}) < len(group.runs) for group in (best, following))
    counted = "runs, taken for independent" if mixed else "seeds"
    interval = f"95 % t-interval, {len(ours)} and {len(theirs)} {counted}"
    opening += f"{_measure(amount, welched.half_width, metric)} ({interval}{_crossed(best, following, metric)}): "
    p = corrected.get((best.label, following.label))
    correction = "" if p is None else f"after Holm's correction for all {len(corrected)} pairs (p = {p:.2g})"
    if welched.resolved and p is not None and p >= 1 - LEVEL:
        return f"{opening}the difference is not resolved {correction}"
    if welched.resolved:
        return f"{opening}the difference is resolved {correction}".rstrip()
    needed = seeds_to_resolve(ours, theirs)
    more = "" if needed is None else f"; about {needed:,} seeds each would resolve it"
    return f"{opening}the interval includes 0{more}"


def _crossed(best: Group, following: Group, metric: str) -> str:
    """How far the difference is certain where the examples might be others too, if that is known."""
    ours, theirs = best.by_example(metric), following.by_example(metric)
    if ours is None and theirs is None:
        return ""
    if ours is None or theirs is None or not np.array_equal(ours[1], theirs[1]):
        return "; no bootstrap over examples, as not all runs have those of their best step"
    found = two_way_bootstrap(ours[0], theirs[0], ours[1])
    _, _, half_width = format_estimate(found.value, found.half_width).partition(" ± ")
    inside = ", so that other examples may say otherwise" if abs(found.value) <= found.half_width else ""
    return f"; crossed with a bootstrap over {found.examples:,} examples it is ± {half_width}{inside}"


def _why_no_interval(best: Group, following: Group, metric: str) -> str:
    single = [group.label for group in (best, following) if len(_values(group, metric)) == 1]
    if len(single) == 2:
        return "one seed each: no interval, so no verdict"
    if single:
        return f"one seed of {single[0]}: no interval, so no verdict"
    return "the seeds of either group agree exactly: no interval, so no verdict"


def _caveats(best: Group, following: Group) -> list[str]:
    """What a reader has to know before believing it."""
    doubts = []
    if cells_differ(best, following):
        ratio = (best.cell_parameters or 0) / (following.cell_parameters or 1)
        doubts.append(f"not at equal cost, as its cell has {_more_or_fewer(ratio)} parameters")
    if models_differ(best, following):
        ratio = (best.parameters or 0) / (following.parameters or 1)
        doubts.append(f"its whole model has {_more_or_fewer(ratio)} parameters")
    for group in (best, following):
        rest = [f"{count} {name}" for name, count in group.statuses.items() if name != "finished"]
        if rest:
            count = f"{len(group.runs)} run{'s' if len(group.runs) != 1 else ''}"
            doubts.append(f"provisional: of {count} of {group.label}, {', '.join(rest)}")
    return doubts


def _more_or_fewer(ratio: float) -> str:
    text = f"{ratio - 1:.0%} more" if ratio > 1 else f"{1 - ratio:.0%} fewer"
    return text.replace("%", " %")


def _values(group: Group, metric: str) -> list[float]:
    return [best.valid for best in group.bests(metric)]


def _seeds(run: Run) -> str:
    return str(sorted(run.config.get("seeds", {}).items()))


def _measure(amount: float, half_width: float | None, metric: str) -> str:
    return f"{format_estimate(amount, half_width)} {unit(metric)}".rstrip()
