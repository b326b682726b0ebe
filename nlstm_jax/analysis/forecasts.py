"""Trained forecasters and baselines in one table."""

from collections.abc import Mapping, Sequence

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.statistics import estimate, format_estimate
from nlstm_jax.runs import Run


def forecast_table(baselines: Mapping[str, Mapping[str, float]], runs: Sequence[Run], split: str, metric: str) -> str:
    """Return a Markdown table of the errors of baselines and of groups of runs, best first.

    Args:
        baselines: The metrics of each baseline, by its name.
        runs: Runs of the same task. Runs that differ only in their seeds share one row, with a 95 % t-interval.
        split: "valid" for the value at each run's best step, or "test" for runs that were evaluated on that split.
        metric: The name of the error. Lower is better.
    """
    rows = [(metrics[metric], name, format_estimate(metrics[metric]), "") for name, metrics in baselines.items()]
    groups = compare(runs).groups if runs else ()
    for group in groups:
        values = _values(group, split, metric)
        if values:
            mean = estimate(values)
            rows.append((mean.value, group.label, format_estimate(mean.value, mean.half_width), str(mean.seeds)))

    lines = [f"| forecast | {split} {metric} | seeds |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {value} | {seeds} |" for _, name, value, seeds in sorted(rows)]
    return "\n".join(lines)


def _values(group: Group, split: str, metric: str) -> list[float]:
    """Return the values of the runs that have one on the split."""
    bests = group.bests(metric)
    if split == "valid":
        return [best.valid for best in bests]
    return [best.test for best in bests if best.test is not None]
