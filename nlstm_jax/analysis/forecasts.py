"""Trained forecasters and baselines as one table."""

from collections.abc import Mapping, Sequence

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.curves import Group
from nlstm_jax.analysis.statistics import estimate, format_estimate
from nlstm_jax.runs import Run


def forecast_table(baselines: Mapping[str, Mapping[str, float]], runs: Sequence[Run], split: str, metric: str) -> str:
    """An error of baselines and of groups of runs, the best first, as a Markdown table.

    Args:
        baselines: metrics by the baseline's name.
        runs: of the same task; those that differ in their seeds only are one row, with a 95 % t-interval.
        split: `valid`, at each run's best step, or `test`, of the runs that were evaluated on it.
        metric: which error, lower being better.
    """
    rows = [(metrics[metric], name, format_estimate(metrics[metric]), "") for name, metrics in baselines.items()]
    for group in compare(runs).groups if runs else ():
        values = _values(group, split, metric)
        if values:
            mean = estimate(values)
            rows.append((mean.value, group.label, format_estimate(mean.value, mean.half_width), str(mean.seeds)))
    lines = [f"| forecast | {split} {metric} | seeds |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {value} | {seeds} |" for _, name, value, seeds in sorted(rows)]
    return "\n".join(lines)


def _values(group: Group, split: str, metric: str) -> list[float]:
    bests = group.bests(metric)
    return [value for best in bests if (value := best.valid if split == "valid" else best.test) is not None]
