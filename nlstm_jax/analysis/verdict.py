"""What the comparison says, in one sentence that claims no more than the seeds allow."""

from nlstm_jax.analysis.comparison import Comparison, cells_differ
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.statistics import estimate, seeds_to_resolve, welch, written
from nlstm_jax.runs import higher_is_better


def verdict(comparison: Comparison, metric: str) -> str:
    """The best group against the next, by Welch's t-interval over the best validation values of their runs.

    The sentence also says what weakens it: cells of unequal cost, runs that did not finish, more than two groups to
    choose from. With other data there is no verdict, and with one seed none either, as one seed has no interval.
    """
    measured = [group for group in comparison.groups if group.bests(metric)]
    if not measured:
        return f"No verdict: no run has a valid {metric}."
    if comparison.incomparable:
        return f"No verdict: {comparison.incomparable}."
    if len(measured) == 1:
        return f"No verdict: {measured[0].label} is the only group with a valid {metric}."
    measured.sort(key=lambda group: estimate(_values(group, metric)).value, reverse=higher_is_better(metric))
    best, following = measured[:2]
    return "; ".join([_difference(best, following, metric), *_doubts(best, following, len(measured))]) + "."


def unit(metric: str) -> str:
    """What a metric is counted in; empty where it is a plain number."""
    return "nats" if metric.startswith("log_loss") else ""


def _difference(best: Group, following: Group, metric: str) -> str:
    """Which group is better by how much, and whether that is resolved."""
    ours, theirs = _values(best, metric), _values(following, metric)
    direction = "higher" if higher_is_better(metric) else "lower"
    opening = f"{best.label} reaches a valid {metric} {direction} than {following.label} by "
    amount = abs(estimate(ours).value - estimate(theirs).value)
    welched = welch(ours, theirs)
    if welched is None:
        return f"{opening}{_measure(amount, None, metric)} ({_why_no_interval(best, following, metric)})"
    interval = f"95 % t-interval, {len(ours)} and {len(theirs)} seeds"
    opening += f"{_measure(amount, welched.half_width, metric)} ({interval}): "
    if welched.resolved:
        return f"{opening}the difference is resolved"
    needed = seeds_to_resolve(ours, theirs)
    more = "" if needed is None else f"; about {needed:,} seeds each would resolve it"
    return f"{opening}the interval includes 0{more}"


def _why_no_interval(best: Group, following: Group, metric: str) -> str:
    single = [group.label for group in (best, following) if len(_values(group, metric)) == 1]
    if len(single) == 2:
        return "one seed each: no interval, so no verdict"
    if single:
        return f"one seed of {single[0]}: no interval, so no verdict"
    return "the seeds of either group agree exactly: no interval, so no verdict"


def _doubts(best: Group, following: Group, groups: int) -> list[str]:
    """What a reader has to know before believing it."""
    doubts = []
    if cells_differ(best, following):
        ratio = (best.cell_parameters or 0) / (following.cell_parameters or 1)
        more = f"{ratio - 1:.0%} more" if ratio > 1 else f"{1 - ratio:.0%} fewer"
        doubts.append(f"not at equal cost, as its cell has {more.replace('%', ' %')} parameters")
    if groups > 2:
        doubts.append(f"these are the best two of {groups} groups, and the interval is not widened for that choice")
    for group in (best, following):
        rest = [f"{count} {name}" for name, count in group.statuses.items() if name != "finished"]
        if rest:
            count = f"{len(group.runs)} run{'s' if len(group.runs) != 1 else ''}"
            doubts.append(f"provisional: of {count} of {group.label}, {', '.join(rest)}")
    return doubts


def _values(group: Group, metric: str) -> list[float]:
    return [best.valid for best in group.bests(metric)]


def _measure(amount: float, half_width: float | None, metric: str) -> str:
    return f"{written(amount, half_width)} {unit(metric)}".rstrip()
