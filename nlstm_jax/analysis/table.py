"""The rows of a comparison as a table for the terminal, Markdown, LaTeX, HTML and CSV."""

import csv
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from rich.table import Table
from rich.text import Text

from nlstm_jax.analysis.rows import Row
from nlstm_jax.analysis.statistics import Estimate, format_estimate

Column: TypeAlias = tuple[str, Literal["left", "right"]]
"""The name of a column and its alignment."""

Record: TypeAlias = dict[str, str | int | float | None]
"""The values of a row by the names of the CSV columns."""

_LEFT_OUT_FIRST = ("seconds", "parameters", "train there", "at step")
"""The columns that a narrow terminal leaves out, in this order."""

_GAP = 2
"""The number of spaces between two columns in the terminal."""

_BREAK = re.compile("(?<!±) (?!±)")
"""Spaces at which a cell may be broken into lines. Those within an estimate do not match."""


def terminal(table: Sequence[Row], metric: str, width: int) -> Table:
    """Return the table for a rich console. Text from run folders is shown as it is, without markup.

    Args:
        table: The rows.
        metric: The metric that the rows compare.
        width: The width of the console in characters. To fit into it, columns are left out, the least important
            first, and cells are broken into lines.
    """
    columns, lines = _cells(table, metric)
    cells: dict[str, list[str]] = {}
    for index, (name, _) in enumerate(columns):
        cells[name] = [name, *(line[index] for line in lines)]
    widths = {name: max(map(_longest_part, cells[name])) for name in cells}
    for name in _LEFT_OUT_FIRST:
        if _total_width(widths) > width:
            del widths[name]

    shown = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, alignment in columns:
        if name in widths:
            wider = max(map(len, cells[name])) - widths[name]
            free = width - _total_width(widths)
            widths[name] += max(0, min(free, wider))
            shown.add_column(Text(name), justify=alignment, width=widths[name], overflow="fold")
    for line in lines:
        shown.add_row(*(Text(cell) for cell, (name, _) in zip(line, columns, strict=True) if name in widths))
    return shown


def markdown(table: Sequence[Row], metric: str) -> str:
    """Return the table in Markdown."""
    columns, lines = _cells(table, metric)
    head = [markdown_text(name) for name, _ in columns]
    rules = ["---" if alignment == "left" else "---:" for _, alignment in columns]
    body = [list(map(markdown_text, line)) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rules, *body])


def html_table(table: Sequence[Row], metric: str) -> str:
    """Return the table as an HTML element, with all text escaped.

    The best value is the first column after the names, so that a narrow screen shows it.
    """
    columns, lines = _cells(table, metric)
    names = [name for name, _ in columns]
    best = names.index(f"best valid {metric}")
    order = list(range(len(names)))
    order.insert(names.index("group") + 1, order.pop(best))
    columns = [columns[index] for index in order]
    lines = [[line[index] for index in order] for line in lines]
    head = "".join(f'<th class="{alignment}"><button>{html.escape(name)}</button></th>' for name, alignment in columns)
    body = "".join(_html_row(columns, line) for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def csv_text(table: Sequence[Row], metric: str) -> str:
    """Return the table as CSV with all digits. A missing value is an empty field."""
    records = [_record(row, metric) for row in table]
    if not any(row.facet for row in table):
        for record in records:
            del record["facet"]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def latex(table: Sequence[Row], metric: str) -> str:
    """Return the table as a LaTeX `tabular` with the rules of the package booktabs."""
    columns, lines = _cells(table, metric)
    letters = "".join("l" if alignment == "left" else "r" for _, alignment in columns)
    parts = [
        rf"\begin{{tabular}}{{{letters}}}",
        r"\toprule",
        _latex_row(name for name, _ in columns),
        r"\midrule",
        *map(_latex_row, lines),
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]
    return "\n".join(parts)


def markdown_text(text: str) -> str:
    """Return text on one line, in which Markdown finds no table markup and no HTML."""
    return " ".join(html.escape(text, quote=False).replace("|", "\\|").split())


def _record(row: Row, metric: str) -> Record:
    """Return the values of a row by the names of the CSV columns."""
    record: Record = {
        "facet": row.facet,
        "label": row.label,
        "runs": row.runs,
        "cell_parameters": row.cell_parameters,
        "parameters": row.parameters,
        "unequal_cells": "yes" if row.unequal else "no",
        "unequal_models": "yes" if row.unequal_models else "no",
        "best_step_min": row.best_steps and row.best_steps[0],
        "best_step_max": row.best_steps and row.best_steps[1],
    }
    estimates = {f"valid_{metric}": row.valid, f"train_{metric}_at_best": row.train, f"test_{metric}": row.test}
    for name, value in estimates.items():
        record[name] = value and value.value
        record[f"{name}_half_width"] = value and value.half_width
        record[f"{name}_seeds"] = value and value.seeds
    record["test_looks"] = row.looks
    record["status"] = row.status
    record["wall_seconds"] = row.wall_seconds
    if row.reach:
        record["reach_level"] = row.reach.level
        record["reach_runs"] = row.reach.runs
        record["reach_steps"] = row.reach.steps and row.reach.steps.value
        record["reach_seconds"] = row.reach.seconds and row.reach.seconds.value
    return record


def _cells(table: Sequence[Row], metric: str) -> tuple[list[Column], list[list[str]]]:
    """Return the columns, and the cells of every row as text."""
    has_facets = any(row.facet for row in table)
    has_test = any(row.test for row in table)
    level = next((row.reach.level for row in table if row.reach), None)

    names = ["group", "seeds", "cell parameters", "parameters", f"best valid {metric}", "at step", "train there"]
    if has_facets:
        names.insert(0, "facet")
    if has_test:
        names.append("test (n looks)")
    names += ["status", "seconds"]
    if level is not None:
        names += [f"steps to {level:g}", f"seconds to {level:g}"]

    columns: list[Column] = []
    for name in names:
        if name in ("facet", "group", "status"):
            columns.append((name, "left"))
        else:
            columns.append((name, "right"))
    return columns, [_row_cells(row, has_facets, has_test) for row in table]


def _row_cells(row: Row, has_facets: bool, has_test: bool) -> list[str]:
    """Return the cells of a row as text."""
    cell_parameters = _format_count(row.cell_parameters)
    if row.unequal:
        cell_parameters += " ≠ cells"
    parameters = _format_count(row.parameters)
    if row.unequal_models:
        parameters += " ≠ models"

    cells = [
        row.label,
        _format_seeds(row),
        cell_parameters,
        parameters,
        _format_optional(row.valid),
        _format_span(row.best_steps),
        _format_optional(row.train),
    ]
    if has_facets:
        cells.insert(0, row.facet)
    if has_test:
        cells.append(_format_test(row))
    cells.append(row.status)
    cells.append("–" if row.wall_seconds is None else f"{row.wall_seconds:,.0f}")
    if row.reach:
        steps = _format_optional(row.reach.steps)
        if row.reach.runs < row.runs:
            steps += f" ({row.reach.runs} of {row.runs})"
        cells += [steps, _format_optional(row.reach.seconds)]
    return cells


def _longest_part(cell: str) -> int:
    """Return the width of the longest part of a cell that must not be broken."""
    return max(map(len, _BREAK.split(cell)))


def _total_width(widths: Mapping[str, int]) -> int:
    """Return the width of all columns with the gaps between them, in characters."""
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _format_seeds(row: Row) -> str:
    """Return the number of seeds with a value, and the number of runs if it is another."""
    seeds = row.valid.seeds if row.valid else 0
    if seeds == row.runs:
        return str(seeds)
    return f"{seeds} of {row.runs}"


def _format_count(count: int | None) -> str:
    """Return a count as text, with a dash for None."""
    return "–" if count is None else f"{count:,}"


def _format_optional(value: Estimate | None) -> str:
    """Return an estimate as text, with a dash for None."""
    return "–" if value is None else format_estimate(value.value, value.half_width)


def _format_test(row: Row) -> str:
    """Return the test value as text, with the number of evaluations."""
    if row.test is None:
        return "–"
    plural = "" if row.looks == 1 else "s"
    return f"{_format_optional(row.test)} ({row.looks} look{plural})"


def _format_span(steps: tuple[int, int] | None) -> str:
    """Return a first and a last step as text, as one number if they are equal."""
    if steps is None:
        return "–"
    first, last = steps
    if first == last:
        return f"{first:,}"
    return f"{first:,}–{last:,}"


def _html_row(columns: Sequence[Column], line: Sequence[str]) -> str:
    """Return a row of the HTML table."""
    cells = []
    for (_, alignment), cell in zip(columns, line, strict=True):
        cells.append(f'<td class="{alignment}">{html.escape(cell)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _latex_row(cells: Iterable[str]) -> str:
    """Return a row of the LaTeX table."""
    return " & ".join(map(_latex_text, cells)) + r" \\"


def _latex_text(text: str) -> str:
    """Return text with the special characters of TeX escaped, and ± as a command."""
    escaped = re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", "/").replace("~", " ").replace("^", " "))
    escaped = " ".join(escaped.split())
    if escaped.startswith("["):
        # A bracket at the start of a row would be read as an option of the preceding line break.
        escaped = "{}" + escaped
    return escaped.replace(" ± ", r" $\pm$ ").replace("≠", r"$\neq$").replace("–", "--")
