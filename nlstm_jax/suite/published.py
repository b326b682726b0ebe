"""The comparison of recent runs of a published model with its published figures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.special import stdtrit

from nlstm_jax.analysis.results import ARCHIVE
from nlstm_jax.analysis.statistics import LEVEL, Estimate, estimate, format_estimate
from nlstm_jax.runs import Run, read_run, unpack_archive
from nlstm_jax.runs.reader import ConfigTransform
from nlstm_jax.suite.markdown import table
from nlstm_jax.suite.spec import Published


class PublishedFigure(NamedTuple):
    """A published figure beside that of recent runs.

    Attributes:
        split: The split.
        published: The published value.
        mean: The mean of the runs at their last step.
        half_width: The half-width of the prediction interval of one further run. None for a single run.
    """

    split: str
    published: float
    mean: float
    half_width: float | None

    @property
    def is_within(self) -> bool:
        """True if the published value lies within the prediction interval."""
        return self.half_width is not None and abs(self.published - self.mean) <= self.half_width


def published_text(folder: Path, published: Published, scratch: Path, with_defaults: ConfigTransform) -> str:
    """Return a table of the published figures and the recent ones, or a line that says why there is none.

    Args:
        folder: The folder of the suite.
        published: The published figures.
        scratch: A folder, into which the archive is unpacked.
        with_defaults: The function that is applied to every configuration.
    """
    archive = folder / published.folder / ARCHIVE
    if not archive.exists():
        return f"{published.title}: the runs are not committed."
    runs = [read_run(path, with_defaults) for path in unpack_archive(archive, scratch / published.folder)]
    if len(runs) != published.runs:
        return f"{published.title}: {published.runs} runs expected, found {len(runs)}."
    figures = []
    for split, value in published.values.items():
        values = [value_at_last_step(run, split, published.metric) for run in runs]
        known = [value for value in values if value is not None]
        if len(known) < len(runs):
            return f"{published.title}: not all runs have a {published.metric} on {split} at the last step."
        figures.append(compare_with_published(split, value, known))
    rows = []
    for figure in figures:
        verdict = "within" if figure.is_within else "not within"
        amount = format_estimate(figure.mean, figure.half_width)
        rows.append([figure.split, f"{figure.published:g}", amount, verdict])
    titles = ("split", "published", f"{published.runs} seeds, 95 % prediction interval", "published value")
    return f"{published.title}, {published.metric} at the last step:\n\n{table(titles, rows, left=(0, 3))}"


def compare_with_published(split: str, published: float, values: Sequence[float]) -> PublishedFigure:
    """Return a published figure beside the 95 % prediction interval of recent values.

    The interval is that of one further value: mean ± t s √(1 + 1/n), for independent normal values.

    >>> compare_with_published("test", 4.0, [1.0, 2.0, 3.0]).is_within
    True
    """
    mean: Estimate = estimate(values)
    half_width = None
    count = len(values)
    if count > 1:
        variance = math.fsum((value - mean.value) ** 2 for value in values) / (count - 1)
        half_width = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * math.sqrt(variance * (1 + 1 / count))
    return PublishedFigure(split, published, mean.value, half_width)


def value_at_last_step(run: Run, split: str, metric: str) -> float | None:
    """Return a metric at the last step of a run, or None if it was not measured there."""
    last = max((int(line["step"]) for line in run.metrics), default=0)
    if split == "test":
        test = (run.summary or {}).get("test", {})
        return float(test[metric]) if metric in test and test.get("step") == last else None
    return run.curve(split, metric).get(last)
