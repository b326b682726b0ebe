"""The comparison as one HTML file: curves to hover over, metric by metric, with table and verdict; no network.

`page.html` is the template. Whatever comes from run folders is text, and is escaped on its way into it.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from nlstm_jax.analysis.comparison import CLOCKS, Comparison, code_lines
from nlstm_jax.analysis.curves import AXES, SPLITS, Group, run_status
from nlstm_jax.analysis.figure import COLOURS, PlotOptions
from nlstm_jax.analysis.table import facet_rows, html_table
from nlstm_jax.analysis.verdict import unit, verdict
from nlstm_jax.runs import read_notes

SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
    "triangle-left",
    "triangle-right",
)
"""Plotly's names of the figure's markers, in the same order."""

_PLOT = '<div class="plot" role="img" aria-label="curves of the metric; the table below has the numbers"></div>'


def render(
    facets: Mapping[str, Comparison], look: PlotOptions, *, level: float | None = None, refresh: float = 0
) -> str:
    """The whole page; every number that occurs in the runs can be chosen, and along what it is drawn.

    Args:
        facets: comparisons by their titles, a plot for each; one without a title is the usual page.
        look: what is shown at first.
        level: of its metric, if the table is to tell how soon it was reached.
        refresh: seconds after which the page is read anew, 0: never.
    """
    comparisons = list(facets.values())
    fields = (name for comparison in comparisons for name in comparison.fields)
    names = list(dict.fromkeys([look.metric, *fields]))
    labels = list(dict.fromkeys(group.label for comparison in comparisons for group in comparison.groups))
    template = resources.files("nlstm_jax.analysis").joinpath("page.html").read_text("utf-8")
    occurring = _occurring_splits(comparisons)
    levels = {look.metric: level}

    def sections(content: Callable[[str], str]) -> str:
        """One a metric, of which the script shows the chosen one."""
        return "".join(
            f'<section data-metric="{html.escape(name)}"{"" if name == look.metric else " hidden"}>{content(name)}'
            "</section>"
            for name in names
        )

    remarks = [
        *code_lines(facets),
        *(_titled(title, remark) for title, comparison in facets.items() for remark in comparison.remarks),
    ]
    parts = {
        "title": html.escape(_title(labels)),
        "verdicts": sections(lambda name: "".join(_verdict(*item, name) for item in facets.items())),
        "remarks": "".join(f'<p class="remark">{html.escape(remark)}</p>' for remark in dict.fromkeys(remarks)),
        "options": "".join(map(_option, names)),
        "axes": "".join(_axis(name, look.axis) for name in _known_axes(comparisons)),
        "splits": "".join(_checkbox(split, occurring, look.show_train) for split in occurring),
        "log": " checked" if look.log_y else "",
        "plots": "".join(f"<figure><figcaption>{html.escape(title)}</figcaption>{_PLOT}</figure>" for title in facets),
        "tables": sections(lambda name: _table(facets, name, levels.get(name))),
        "runs": "".join(_runs(group) for comparison in comparisons for group in comparison.groups),
        "plotly": get_plotlyjs(),
        "data": script_json({**_data(comparisons, labels, names), "refresh": refresh}),
    }
    # One pass, so that nothing that was put in is read as a place to put something in.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _title(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 4} more" if len(labels) > 4 else ""
    return f"Validation curves of {' · '.join(labels[:4])}{more}"


def _titled(title: str, text: str) -> str:
    return f"{title}: {text}" if title else text


def _data(comparisons: Sequence[Comparison], labels: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """What the script draws: for each plot every group's curves by metric, and where their steps lie on each axis."""
    return {
        "groups": labels,
        "colours": COLOURS,
        "symbols": SYMBOLS,
        "axes": AXES,
        "units": {name: unit(name) for name in names},
        "panels": [
            {
                "floors": {name: comparison.floor(name) for name in names},
                "groups": [
                    {
                        "place": labels.index(group.label),
                        "along": _along(group),
                        "curves": {name: _curves(group, name) for name in names},
                    }
                    for group in comparison.groups
                ],
            }
            for comparison in comparisons
        ],
    }


def _curves(group: Group, metric: str) -> dict[str, Any]:
    found = {split: group.curve(split, metric) for split in SPLITS}
    return {
        split: {
            "steps": curve.steps,
            "mean": _short(curve.mean),
            "half_width": curve.half_width and _short(curve.half_width),
        }
        for split, curve in found.items()
        if curve
    }


def _along(group: Group) -> dict[str, list[tuple[int, float]]]:
    """For every axis that is known of a group pairs of a step and where it lies; without them it is the step."""
    steps = sorted(set.intersection(*({int(line["step"]) for line in run.metrics} for run in group.runs)))
    found = {axis: group.along(axis, steps) for axis in AXES if axis != "step" and steps}
    return {axis: list(zip(steps, _short(places), strict=True)) for axis, places in found.items() if places}


def _short(values: Iterable[float]) -> list[float]:
    """Seven digits are enough for a picture."""
    return [float(f"{value:.7g}") for value in values]


def _known_axes(comparisons: Sequence[Comparison]) -> list[str]:
    known = {axis for comparison in comparisons for group in comparison.groups for axis in _along(group)}
    return [axis for axis in AXES if axis == "step" or axis in known]


def _axis(name: str, shown: str) -> str:
    return f'<option value="{name}"{" selected" if name == shown else ""}>{html.escape(AXES[name])}</option>'


def _occurring_splits(comparisons: Sequence[Comparison]) -> list[str]:
    groups = (group for comparison in comparisons for group in comparison.groups)
    lines = (line for group in groups for run in group.runs for line in run.metrics)
    found = {line.get("split") for line in lines}
    return [split for split in SPLITS if split in found]


def _verdict(title: str, comparison: Comparison, name: str) -> str:
    clock = f"{name} is a clock: it tells of the machine as well, so there is no verdict."
    said = _titled(title, clock if name in CLOCKS else verdict(comparison, name))
    return f'<p class="verdict">{html.escape(said)}</p>'


def _table(facets: Mapping[str, Comparison], name: str, level: float | None) -> str:
    if name in CLOCKS:
        return ""
    heading = f"<h2>Best valid {html.escape(name)}, ± half the 95 % t-interval over seeds</h2>"
    return f'{heading}<div class="scroll">{html_table(facet_rows(facets, name, level), name)}</div>'


def _option(name: str) -> str:
    return f'<option value="{html.escape(name)}">{html.escape(name)}</option>'


def _checkbox(split: str, occurring: list[str], show_train: bool) -> str:
    """Validation and test are shown at first, as in the figure; training where there is nothing else."""
    checked = " checked" if split != "train" or show_train or occurring == ["train"] else ""
    return f'<label><input type="checkbox" value="{split}"{checked}> {split}</label>'


def _runs(group: Group) -> str:
    """Which folders a group's numbers come from."""
    lines = []
    for run in group.runs:
        notes = read_notes(run.path)
        line = f"{run.path}: {run_status(run)}, seeds {json.dumps(run.config.get('seeds'))}"
        lines.append("; ".join(filter(None, [line, ", ".join(notes.tags), notes.text])))
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<p>{html.escape(group.label)}</p><ul>{items}</ul>"
