"""The comparison as one HTML file with interactive curves, tables and verdicts. It needs no network.

`page.html` is the template. Everything that comes from run folders is text, and is escaped before it is inserted.
"""

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources

from plotly.offline import get_plotlyjs

from nlstm_jax.analysis.comparison import CLOCKS, Comparison, code_lines
from nlstm_jax.analysis.curves import AXES, SPLITS, Group, run_status
from nlstm_jax.analysis.figure import PlotOptions
from nlstm_jax.analysis.group_style import MARKERS, GroupStyle, group_styles
from nlstm_jax.analysis.rows import facet_rows
from nlstm_jax.analysis.table import html_table
from nlstm_jax.analysis.verdict import verdict
from nlstm_jax.runs import read_notes
from nlstm_jax.types import JsonObject

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
"""Plotly's names of the markers in `group_style.MARKERS`, in the same order."""

_PLOT = '<div class="plot" role="img" aria-label="curves of the metric; the table below has the numbers"></div>'


def render(
    facets: Mapping[str, Comparison],
    look: PlotOptions,
    *,
    level: float | None = None,
    refresh: float = 0,
    judged: Sequence[str] = (),
) -> str:
    """Return the whole page, in which a reader can choose the metric and the horizontal axis.

    Args:
        facets: The comparisons by their titles. Each has a plot. The title of a single comparison is empty.
        look: The metric, the axis and the options that are shown at first.
        level: A level of that metric, if the table is to show how soon it was reached.
        refresh: The seconds after which the page reloads itself. 0 means never.
        judged: The verdicts with a margin, on that metric.
    """
    comparisons = list(facets.values())
    metrics = _metric_names(comparisons, look.metric)
    labels = list(dict.fromkeys(group.label for group in _groups(comparisons)))
    splits = _occurring_splits(comparisons)

    def table(metric: str) -> str:
        if metric == look.metric:
            return _table(facets, metric, level)
        return _table(facets, metric, None)

    def verdicts(metric: str) -> str:
        paragraphs = [_verdict(title, comparison, metric) for title, comparison in facets.items()]
        if metric == look.metric:
            paragraphs += [f'<p class="verdict">{html.escape(text)}</p>' for text in judged]
        return "".join(paragraphs)

    parts = {
        "title": html.escape(_page_title(labels)),
        "verdicts": _sections(metrics, look.metric, verdicts),
        "remarks": "".join(f'<p class="remark">{html.escape(remark)}</p>' for remark in _remarks(facets)),
        "options": "".join(map(_metric_option, metrics)),
        "axes": "".join(_axis_option(axis, look.axis) for axis in _known_axes(comparisons)),
        "splits": "".join(_split_checkbox(split, splits, look.show_train) for split in splits),
        "log": " checked" if look.log_y else "",
        "plots": "".join(f"<figure><figcaption>{html.escape(title)}</figcaption>{_PLOT}</figure>" for title in facets),
        "tables": _sections(metrics, look.metric, table),
        "runs": "".join(_run_list(group) for group in _groups(comparisons)),
        "plotly": get_plotlyjs(),
        "data": script_json({**_script_data(comparisons, labels, metrics), "refresh": refresh}),
    }
    template = resources.files("nlstm_jax.analysis").joinpath("page.html").read_text("utf-8")
    # All placeholders are replaced in one pass, so that inserted text is not searched for placeholders.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def script_json(value: JsonObject) -> str:
    """Return JSON text that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _groups(comparisons: Iterable[Comparison]) -> list[Group]:
    """Return the groups of all comparisons."""
    return [group for comparison in comparisons for group in comparison.groups]


def _metric_names(comparisons: Sequence[Comparison], first: str) -> list[str]:
    """Return the names of all numbers that occur in the runs, each once, and `first` before the others."""
    names = [first]
    for comparison in comparisons:
        names += comparison.fields
    return list(dict.fromkeys(names))


def _sections(metrics: Sequence[str], shown: str, content: Callable[[str], str]) -> str:
    """Return one section per metric. All but the one shown are hidden until the script shows them."""
    sections = []
    for metric in metrics:
        hidden = "" if metric == shown else " hidden"
        sections.append(f'<section data-metric="{html.escape(metric)}"{hidden}>{content(metric)}</section>')
    return "".join(sections)


def _page_title(labels: Sequence[str]) -> str:
    """Return the title of the page, which names the first four groups."""
    title = f"Validation curves of {' · '.join(labels[:4])}"
    if len(labels) > 4:
        title += f" and {len(labels) - 4} more"
    return title


def _with_title(title: str, text: str) -> str:
    """Return a text after the title of its comparison, if the comparison has one."""
    return f"{title}: {text}" if title else text


def _remarks(facets: Mapping[str, Comparison]) -> list[str]:
    """Return the remarks on all comparisons, each line once."""
    remarks = code_lines(facets)
    for title, comparison in facets.items():
        remarks += [_with_title(title, remark) for remark in comparison.remarks]
    return list(dict.fromkeys(remarks))


def _script_data(comparisons: Sequence[Comparison], labels: Sequence[str], metrics: Sequence[str]) -> JsonObject:
    """Return the data that the script draws.

    A panel is a plot. It has the curves of every group by metric, and the positions of their steps on every axis.
    """
    return {
        "groups": labels,
        "styles": [_plotly_style(style) for style in group_styles(_groups(comparisons)).values()],
        "axes": AXES,
        "units": {metric: comparisons[0].groups[0].runs[0].unit(metric) for metric in metrics},
        "panels": [_panel_data(comparison, labels, metrics) for comparison in comparisons],
    }


def _plotly_style(style: GroupStyle) -> JsonObject:
    """Return the color and the marker of a group, as Plotly names them."""
    return {"color": style.color, "symbol": SYMBOLS[MARKERS.index(style.marker)], "hollow": style.hollow}


def _panel_data(comparison: Comparison, labels: Sequence[str], metrics: Sequence[str]) -> JsonObject:
    """Return the data of one plot.

    `place` is the index of a group's label and of its style.
    """
    groups = []
    for group in comparison.groups:
        curves = {metric: _curve_data(group, metric) for metric in metrics}
        groups.append({"place": labels.index(group.label), "along": _axis_positions(group), "curves": curves})
    return {"floors": {metric: comparison.floor(metric) for metric in metrics}, "groups": groups}


def _curve_data(group: Group, metric: str) -> JsonObject:
    """Return a group's curves of a metric, by split."""
    curves = {}
    for split in SPLITS:
        curve = group.curve(split, metric)
        if curve:
            half_width = curve.half_width and _rounded(curve.half_width)
            curves[split] = {"steps": curve.steps, "mean": _rounded(curve.mean), "half_width": half_width}
    return curves


def _axis_positions(group: Group) -> dict[str, list[tuple[int, float]]]:
    """Return pairs of a step and its position, for every axis other than `step` on which they are known."""
    steps_by_run = [{int(line["step"]) for line in run.metrics} for run in group.runs]
    steps = sorted(set.intersection(*steps_by_run))
    if not steps:
        return {}
    positions_by_axis = {}
    for axis in AXES:
        positions = group.along(axis, steps)
        if axis != "step" and positions:
            positions_by_axis[axis] = list(zip(steps, _rounded(positions), strict=True))
    return positions_by_axis


def _rounded(values: Iterable[float]) -> list[float]:
    """Return values with seven digits, which are enough for a picture."""
    return [float(f"{value:.7g}") for value in values]


def _known_axes(comparisons: Sequence[Comparison]) -> list[str]:
    """Return `step` and the axes on which the positions of at least one group are known."""
    known = {"step"}
    for group in _groups(comparisons):
        known.update(_axis_positions(group))
    return [axis for axis in AXES if axis in known]


def _axis_option(axis: str, shown: str) -> str:
    """Return an axis as an option of its selection."""
    selected = " selected" if axis == shown else ""
    return f'<option value="{axis}"{selected}>{html.escape(AXES[axis])}</option>'


def _metric_option(metric: str) -> str:
    """Return a metric as an option of its selection."""
    return f'<option value="{html.escape(metric)}">{html.escape(metric)}</option>'


def _occurring_splits(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the splits that at least one run has a metric line of."""
    occurring = set[str | None]()
    for group in _groups(comparisons):
        for run in group.runs:
            occurring.update(line.get("split") for line in run.metrics)
    return [split for split in SPLITS if split in occurring]


def _split_checkbox(split: str, occurring: list[str], show_train: bool) -> str:
    """Return the checkbox of a split.

    Validation and test are shown at first, as in the figure. Training is shown if it is asked for or the only split.
    """
    is_shown = split != "train" or show_train or occurring == ["train"]
    checked = " checked" if is_shown else ""
    return f'<label><input type="checkbox" value="{split}"{checked}> {split}</label>'


def _verdict(title: str, comparison: Comparison, metric: str) -> str:
    """Return the paragraph with the verdict. Clocks have none."""
    if metric in CLOCKS:
        text = f"{metric} is a clock: it tells of the machine as well, so there is no verdict."
    else:
        text = verdict(comparison, metric)
    return f'<p class="verdict">{html.escape(_with_title(title, text))}</p>'


def _table(facets: Mapping[str, Comparison], metric: str, level: float | None) -> str:
    """Return the table with its heading. Clocks have none."""
    if metric in CLOCKS:
        return ""
    heading = f"<h2>Best valid {html.escape(metric)}, ± half the 95 % t-interval over seeds</h2>"
    return f'{heading}<div class="scroll">{html_table(facet_rows(facets, metric, level), metric)}</div>'


def _run_list(group: Group) -> str:
    """Return a list of the run folders of a group, with status, seeds, tags and notes."""
    items = []
    for run in group.runs:
        notes = read_notes(run.path)
        line = f"{run.path}: {run_status(run)}, seeds {json.dumps(run.config.get('seeds'))}"
        text = "; ".join(filter(None, [line, ", ".join(notes.tags), notes.text]))
        items.append(f"<li>{html.escape(text)}</li>")
    return f"<p>{html.escape(group.label)}</p><ul>{''.join(items)}</ul>"
