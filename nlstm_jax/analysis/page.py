"""The comparison as one HTML file: curves to hover over, metric by metric, with table and verdict; no network.

`page.html` is the template. Whatever comes from run folders is text, and is escaped on its way into it.
"""

import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from plotly.offline import get_plotlyjs

from nlstm_jax.analysis.comparison import CLOCKS, Comparison
from nlstm_jax.analysis.curves import SPLITS, Group, run_status
from nlstm_jax.analysis.figure import COLOURS
from nlstm_jax.analysis.table import html_table, rows
from nlstm_jax.analysis.verdict import unit, verdict

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


def render(comparison: Comparison, metric: str) -> str:
    """The whole page; every number that occurs in the runs can be chosen, `metric` at first."""
    names = [metric, *(name for name in comparison.fields if name != metric)]
    template = resources.files("nlstm_jax.analysis").joinpath("page.html").read_text("utf-8")
    occurring = _occurring_splits(comparison)
    parts = {
        "title": html.escape(f"Validation curves of {' · '.join(group.label for group in comparison.groups)}"),
        "verdicts": _sections(names, metric, (_verdict(comparison, name) for name in names)),
        "remarks": "".join(f'<p class="remark">{html.escape(remark)}</p>' for remark in comparison.remarks),
        "options": "".join(map(_option, names)),
        "splits": "".join(_checkbox(split, occurring) for split in occurring),
        "tables": _sections(names, metric, (_table(comparison, name) for name in names)),
        "runs": "".join(map(_runs, comparison.groups)),
        "plotly": get_plotlyjs(),
        "data": script_json(_data(comparison, names)),
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


def _data(comparison: Comparison, names: Iterable[str]) -> dict[str, Any]:
    """What the script draws."""
    return {
        "groups": [group.label for group in comparison.groups],
        "colours": COLOURS,
        "symbols": SYMBOLS,
        "metrics": {
            name: {
                "unit": unit(name),
                "floor": comparison.floor(name),
                "curves": [_curves(group, name) for group in comparison.groups],
            }
            for name in names
        },
    }


def _curves(group: Group, metric: str) -> dict[str, Any]:
    found = {split: group.curve(split, metric) for split in SPLITS}
    return {split: curve and vars(curve) for split, curve in found.items()}


def _occurring_splits(comparison: Comparison) -> list[str]:
    lines = (line for group in comparison.groups for run in group.runs for line in run.metrics)
    found = {line.get("split") for line in lines}
    return [split for split in SPLITS if split in found]


def _verdict(comparison: Comparison, name: str) -> str:
    clock = f"{name} is a clock: it tells of the machine as well, so there is no verdict."
    return f'<p class="verdict">{html.escape(clock if name in CLOCKS else verdict(comparison, name))}</p>'


def _table(comparison: Comparison, name: str) -> str:
    if name in CLOCKS:
        return ""
    heading = f"<h2>Best valid {html.escape(name)}, ± half the 95 % t-interval over seeds</h2>"
    return f'{heading}<div class="scroll">{html_table(rows(comparison, name), name)}</div>'


def _sections(names: Iterable[str], shown: str, contents: Iterable[str]) -> str:
    """One section a metric, of which the script shows the chosen one."""
    return "".join(
        f'<section data-metric="{html.escape(name)}"{"" if name == shown else " hidden"}>{content}</section>'
        for name, content in zip(names, contents, strict=True)
    )


def _option(name: str) -> str:
    return f'<option value="{html.escape(name)}">{html.escape(name)}</option>'


def _checkbox(split: str, occurring: list[str]) -> str:
    """Validation and test are shown at first, as in the figure; training where there is nothing else."""
    checked = " checked" if split != "train" or occurring == ["train"] else ""
    return f'<label><input type="checkbox" value="{split}"{checked}> {split}</label>'


def _runs(group: Group) -> str:
    """Which folders a group's numbers come from."""
    lines = [f"{run.path}: {run_status(run)}, seeds {json.dumps(run.config.get('seeds'))}" for run in group.runs]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<p>{html.escape(group.label)}</p><ul>{items}</ul>"
