"""The differences of groups as a forest plot, each with its interval and in units of its margin."""

import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nlstm_jax.analysis.figure import GRAY
from nlstm_jax.analysis.statistics import LEVEL, holm
from nlstm_jax.errors import DataError
from nlstm_jax.types import JsonObject

_BLUE = "#0072B2"
_LIGHT_BLUE = "#56B4E9"
_KEYS = {
    "title",
    "split",
    "metric",
    "unit",
    "margin",
    "level",
    "named",
    "first",
    "second",
    "runs",
    "value",
    "half_width",
    "p",
    "p_equivalence",
    "seeds",
    "seeds_equivalence",
    "verdict",
    "better",
    "corrected",
}
"""What a verdict says, see `margin.judge_all`."""
_ROW_HEIGHT = 0.34
_WIDEST = 6.0
"""The largest part of the axis on each side, in margins. Intervals that go beyond it end in an arrow."""


def draw_forest(judgements: Sequence[JsonObject]) -> Figure:
    """Draw one row for each difference that has a value. The band is the margin on both sides of 0.

    Args:
        judgements: The verdicts with a margin, see `margin.judge_all`, each with a title.
    """
    rows = [judgement for judgement in judgements if judgement["value"] is not None]
    figure = Figure(figsize=(8.6, 1.3 + _ROW_HEIGHT * max(1, len(rows))), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    axes.axvspan(-1, 1, color=_LIGHT_BLUE, alpha=0.22, linewidth=0)
    axes.axvline(0, color=GRAY, linewidth=0.8)

    ends = [2.0]
    for position, row in enumerate(rows):
        value = row["value"] / row["margin"]
        half_width = (row["half_width"] or 0.0) / row["margin"]
        color = _BLUE if row["named"] else GRAY
        axes.plot([value - half_width, value + half_width], [position] * 2, color=color, linewidth=1.6)
        axes.plot([value], [position], "s" if row["named"] else "o", color=color, markersize=5)
        ends.append(min(_WIDEST, abs(value) + half_width))
    limit = 1.08 * max(ends)
    for position, row in enumerate(rows):
        value = row["value"] / row["margin"]
        half_width = (row["half_width"] or 0.0) / row["margin"]
        for sign in (-1, 1):
            if sign * value + half_width > limit:
                axes.plot([sign * 0.985 * limit], [position], ">" if sign > 0 else "<", color=GRAY, clip_on=False)

    axes.set_xlim(-limit, limit)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_row_label(row) for row in rows], fontsize=8)
    verdicts = axes.secondary_yaxis("right")
    verdicts.set_yticks(range(len(rows)), [_verdict_label(row) for row in rows], fontsize=8)
    verdicts.tick_params(length=0)
    axes.set_xlabel("difference in units of its margin, with the 95 % interval; the band is the margin")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    verdicts.spines["right"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def read_judgements(paths: Sequence[Path]) -> list[JsonObject]:
    """Read the verdicts of several comparisons, as `experiments.compare --margin` writes them.

    Raises:
        DataError: A file is missing, or is not of this form.
    """
    judgements: list[JsonObject] = []
    for path in paths:
        try:
            for row in json.loads(path.read_text("utf-8")):
                missing = sorted(_KEYS - set(row))
                if missing:
                    raise ValueError(f"{', '.join(missing)} missing in a verdict")
                judgements.append({**row, "margin": float(row["margin"])})
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path}: what `experiments.compare --margin` writes expected: {error}") from None
    return judgements


def correct_over_tasks(judgements: Sequence[JsonObject], split: str) -> list[JsonObject]:
    """Return the differences that were named in advance, with p-values that Holm's method corrects over the tasks.

    Args:
        judgements: The verdicts of all tasks.
        split: The split whose verdicts count. Verdicts on steps to solve count in any case.
    """
    named = [dict(row) for row in judgements if row["named"] and row["split"] in (split, "steps")]
    tested = [row for row in named if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p"] = p
        row["corrected"] = True
        is_better = p < 1 - LEVEL
        if not is_better and row["verdict"].startswith("better"):
            within = "within" in row["verdict"]
            row["verdict"] = "equivalent within the margin" if within else "undecided"
    return named


def _verdict_label(row: JsonObject) -> str:
    """Return the verdict of a row, with the group that is better."""
    text = str(row["verdict"])
    return text.replace("better", f"{row['better']} better", 1)


def _row_label(row: JsonObject) -> str:
    """Return the label of a row: the task, the two groups and the split."""
    return f"{row['title']} ({row['split']}): {row['first']} − {row['second']}"
