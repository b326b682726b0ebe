"""Markdown tables."""

from collections.abc import Sequence

NONE = "–"
"""The cell of a table for a value that is not known."""


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return a Markdown table.

    Args:
        titles: The titles of the columns.
        rows: The cells of each row.
        left: The indices of the columns that are aligned to the left. The others are aligned to the right.

    >>> print(table(("task", "loss"), [["gates", "0.1"]], left=(0,)))
    | task | loss |
    | --- | ---: |
    | gates | 0.1 |
    """
    rule = ["---" if index in left else "---:" for index in range(len(titles))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rule, *rows))
