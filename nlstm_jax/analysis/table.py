"""One row a group, best first: as a table for the terminal, Markdown, LaTeX, HTML and CSV."""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from nlstm_jax.analysis.comparison import Comparison, cells_differ, models_differ
from nlstm_jax.analysis.curves import Group, timing_is_valid
from nlstm_jax.analysis.statistics import Estimate, estimate, format_estimate
from nlstm_jax.runs import higher_is_better

_LEFT_OUT_FIRST = ("seconds", "parameters", "train there", "at step")
_GAP = 2
_UNBROKEN = re.compile("(?<!±) (?!±)")
"""Spaces at which a cell may be broken: not within an estimate."""


class Reach(NamedTuple):
    """How soon the runs of a group came to a level of the metric, on the validation split.

    Attributes:
        level: what was to be reached.
        steps, seconds: until then, over the runs that came there; None if none did.
        runs: how many did.
    """

    level: float
    steps: Estimate | None
    seconds: Estimate | None
    runs: int


@dataclass(frozen=True)
class Row:
    """What the table says of a group; estimates are over the seeds that have a value.

    Attributes:
        label: of the group.
        runs: how many there are.
        cell_parameters, parameters: None while no run says.
        unequal: whether the cells differ by more than 1 % from those of the first row.
        unequal_models: whether the whole models differ by more than 2 % from those of the first row.
        valid: the best validation value.
        best_steps: the smallest and the largest step of the best values.
        train: at the best steps.
        test: None where the test split was never looked at.
        looks: how often it was looked at, in the run where that was most often.
        status: `finished`, or how many runs are what.
        wall_seconds: of a run, on average; of those alone that had their slot to themselves.
        reach: steps and seconds to the level that was asked for.
        facet: the title of the comparison that it is a row of, where there are several.
    """

    label: str
    runs: int
    cell_parameters: int | None
    parameters: int | None
    unequal: bool
    unequal_models: bool
    valid: Estimate | None
    best_steps: tuple[int, int] | None
    train: Estimate | None
    test: Estimate | None
    looks: int
    status: str
    wall_seconds: float | None
    reach: Reach | None = None
    facet: str = ""


def rows(comparison: Comparison, metric: str, level: float | None = None) -> list[Row]:
    """The groups' rows, best validation value first and groups without one last.

    Args:
        comparison: the groups.
        metric: what they are compared by.
        level: of the metric, if it is to be told how soon it was reached.
    """
    sign = -1 if higher_is_better(metric) else 1
    described = [(group, _row(group, metric, level)) for group in comparison.groups]
    described.sort(key=lambda pair: (pair[1].valid is None, sign * pair[1].valid.value if pair[1].valid else 0.0))
    first = described[0][0]
    return [
        replace(row, unequal=cells_differ(first, group), unequal_models=models_differ(first, group))
        for group, row in described
    ]


def facet_rows(facets: Mapping[str, Comparison], metric: str, level: float | None = None) -> list[Row]:
    """The rows of several comparisons, one after the other, by their titles."""
    return [
        replace(row, facet=title) for title, comparison in facets.items() for row in rows(comparison, metric, level)
    ]


def terminal(table: Sequence[Row], metric: str, width: int) -> Table:
    """For a rich console; what comes from run folders is shown as it is, without markup.

    Args:
        table: the rows.
        metric: what they are about.
        width: characters there are. Cells are broken and columns left out, those that matter least first, until
            the table fits.
    """
    columns, lines = _cells(table, metric)
    cells = {name: [name, *column] for (name, _), *column in zip(columns, *lines, strict=True)}
    widths = {name: max(len(part) for cell in cells[name] for part in _UNBROKEN.split(cell)) for name in cells}
    for name in _LEFT_OUT_FIRST:
        if _total(widths) > width:
            del widths[name]
    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, justify in columns:
        if name in widths:
            widths[name] += max(0, min(width - _total(widths), max(map(len, cells[name])) - widths[name]))
            shown.add_column(Text(name), justify=justify, width=widths[name], overflow="fold")
    for line in lines:
        shown.add_row(*(Text(cell) for cell, (name, _) in zip(line, columns, strict=True) if name in widths))
    return shown


def markdown(table: Sequence[Row], metric: str) -> str:
    """A pipe table."""
    columns, lines = _cells(table, metric)
    rules = ["---" if justify == "left" else "---:" for _, justify in columns]
    escaped = [[markdown_text(cell) for cell in line] for line in [[name for name, _ in columns], *lines]]
    return "".join(f"| {' | '.join(line)} |\n" for line in [escaped[0], rules, *escaped[1:]])


def html_table(table: Sequence[Row], metric: str) -> str:
    """A `<table>`, escaped."""
    columns, lines = _cells(table, metric)
    head = "".join(f'<th class="{justify}"><button>{html.escape(name)}</button></th>' for name, justify in columns)
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{columns[n][1]}">{html.escape(cell)}</td>' for n, cell in enumerate(line))
        + "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def csv_text(table: Sequence[Row], metric: str) -> str:
    """Numbers in full, one column each, empty where there is none."""
    records = [_record(row, metric) for row in table]
    if not any(row.facet for row in table):
        records = [{name: value for name, value in record.items() if name != "facet"} for record in records]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _record(row: Row, metric: str) -> dict[str, Any]:
    """A row by the names of its numbers."""
    record: dict[str, Any] = {
        "facet": row.facet,
        "label": row.label,
        "runs": row.runs,
        "cell_parameters": row.cell_parameters,
        "parameters": row.parameters,
        "unequal_cells": "yes" if row.unequal else "no",
        "unequal_models": "yes" if row.unequal_models else "no",
    }
    record["best_step_min"], record["best_step_max"] = row.best_steps or (None, None)
    for name, value in (
        (f"valid_{metric}", row.valid),
        (f"train_{metric}_at_best", row.train),
        (f"test_{metric}", row.test),
    ):
        record[name], record[f"{name}_half_width"], record[f"{name}_seeds"] = value or (None, None, None)
    record |= {"test_looks": row.looks, "status": row.status, "wall_seconds": row.wall_seconds}
    if row.reach:
        record |= {"reach_level": row.reach.level, "reach_runs": row.reach.runs}
        record |= {"reach_steps": row.reach.steps and row.reach.steps.value}
        record |= {"reach_seconds": row.reach.seconds and row.reach.seconds.value}
    return record


def latex(table: Sequence[Row], metric: str) -> str:
    """A `tabular` with booktabs' rules."""
    columns, lines = _cells(table, metric)
    letters = "".join("l" if justify == "left" else "r" for _, justify in columns)
    titles, *body = (" & ".join(map(_latex_cell, line)) + r" \\" for line in [[name for name, _ in columns], *lines])
    parts = [rf"\begin{{tabular}}{{{letters}}}", r"\toprule", titles, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}", ""])


def _row(group: Group, metric: str, level: float | None) -> Row:
    bests = group.bests(metric)
    steps = [best.step for best in bests]
    trains = [best.train for best in bests if best.train is not None]
    tests = [best.test for best in bests if best.test is not None]
    seconds = [
        run.summary["wall_seconds"]
        for run in group.runs
        if run.summary and "wall_seconds" in run.summary and timing_is_valid(run)
    ]
    status = ", ".join(f"{count} {name}" for name, count in group.statuses.items())
    return Row(
        label=group.label,
        runs=len(group.runs),
        cell_parameters=group.cell_parameters,
        parameters=group.parameters,
        unequal=False,
        unequal_models=False,
        valid=estimate([best.valid for best in bests]) if bests else None,
        best_steps=(min(steps), max(steps)) if steps else None,
        train=estimate(trains) if trains else None,
        test=estimate(tests) if tests else None,
        looks=max((best.looks for best in bests), default=0),
        status=next(iter(group.statuses)) if len(group.statuses) == 1 else status,
        wall_seconds=estimate(seconds).value if seconds else None,
        reach=None if level is None else _reach(group, metric, level),
    )


def _reach(group: Group, metric: str, level: float) -> Reach:
    found = group.reached(metric, level)
    seconds = [clock for _, clock in found if clock is not None]
    steps = [float(step) for step, _ in found]
    return Reach(level, estimate(steps) if steps else None, estimate(seconds) if seconds else None, len(found))


def _cells(table: Sequence[Row], metric: str) -> tuple[list[tuple[str, Literal["left", "right"]]], list[list[str]]]:
    """Columns as (name, alignment), and every row's cells as text."""
    tested = any(row.test for row in table)
    names = [
        "group",
        "seeds",
        "cell parameters",
        "parameters",
        f"best valid {metric}",
        "at step",
        "train there",
    ]
    faceted = any(row.facet for row in table)
    names = ["facet"] * faceted + names + ["test (n looks)"] * tested + ["status", "seconds"]
    level = next((row.reach.level for row in table if row.reach), None)
    if level is not None:
        names += [f"steps to {level:g}", f"seconds to {level:g}"]
    columns: list[tuple[str, Literal["left", "right"]]] = [
        (name, "left" if name in ("facet", "group", "status") else "right") for name in names
    ]
    lines = []
    for row in table:
        seeds = row.valid.seeds if row.valid else 0
        line = [row.facet] * faceted + [row.label, f"{row.runs}" if seeds == row.runs else f"{seeds} of {row.runs}"]
        line += [_count(row.cell_parameters) + (" ≠ cells" if row.unequal else "")]
        line += [_count(row.parameters) + (" ≠ models" if row.unequal_models else "")]
        line += [_written(row.valid), _span(row.best_steps), _written(row.train)]
        if tested:
            looks = f" ({row.looks} look{'s' if row.looks != 1 else ''})"
            line.append(_written(row.test) + (looks if row.test else ""))
        line += [row.status, "–" if row.wall_seconds is None else f"{row.wall_seconds:,.0f}"]
        if row.reach:
            some = f" ({row.reach.runs} of {row.runs})" if row.reach.runs < row.runs else ""
            line += [_written(row.reach.steps) + some, _written(row.reach.seconds)]
        lines.append(line)
    return columns, lines


def _total(widths: Mapping[str, int]) -> int:
    """Characters that columns take with the gaps between them."""
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _written(value: Estimate | None) -> str:
    return "–" if value is None else format_estimate(value.value, value.half_width)


def _span(steps: tuple[int, int] | None) -> str:
    if steps is None:
        return "–"
    return f"{steps[0]:,}" if steps[0] == steps[1] else f"{steps[0]:,}–{steps[1]:,}"


def _latex_cell(text: str) -> str:
    """Text with TeX's own characters escaped, and ± as its command."""
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", "/").replace("~", " ").replace("^", " "))
    escaped = " ".join(escaped.split())
    # A bracket would be read as an option of the line's end before it.
    escaped = "{}" * escaped.startswith("[") + escaped
    return escaped.replace(" ± ", r" $\pm$ ").replace("≠", r"$\neq$").replace("–", "--")


def markdown_text(text: str) -> str:
    """Text on one line, in which nothing is read as markup of a table or as HTML."""
    return " ".join(html.escape(text, quote=False).replace("|", "\\|").split())
