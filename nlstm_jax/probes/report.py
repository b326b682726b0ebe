"""The memories of several runs: tables and pictures in a folder, and lines to print."""

from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.analysis import figure
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.memory_figure import draw_curves, draw_excess, draw_words
from nlstm_jax.analysis.memory_report import (
    MemoryRow,
    RunMemories,
    csv_text,
    json_text,
    markdown,
    memory_rows,
    sentences,
)
from nlstm_jax.analysis.table import markdown_text
from nlstm_jax.errors import CheckpointError, DataError
from nlstm_jax.probes.run import MemoryOptions, measure_run
from nlstm_jax.runs import Run, make_folder


def write_report(runs: Sequence[Run], options: MemoryOptions, out: Path) -> list[str]:
    """Measure the memories of runs, and write tables and pictures.

    Runs that differ only in their seeds are one group, as in `experiments.compare`. A run without a checkpoint is
    skipped with a line that says so.

    Args:
        runs: The runs of one task.
        options: The options of the measurement.
        out: The folder of the files. It is made if necessary.

    Returns:
        Lines to print.

    Raises:
        ConfigError: The runs are of different tasks, or a layer has no steps.
        CheckpointError: No run has a checkpoint.
        DataError: The data of a run are missing or have changed since.
    """
    comparison = compare(runs)
    make_folder(out, "--out")
    groups: dict[str, list[RunMemories]] = {}
    lines = []
    error: CheckpointError | None = None
    for group in comparison.groups:
        for run in group.runs:
            try:
                memories = measure_run(run.path, options)
            except CheckpointError as mistake:
                error = error or mistake
                lines.append(f"skipped: {mistake}")
                continue
            groups.setdefault(group.label, []).append(memories)
    if not groups:
        assert error is not None
        raise error

    rows = memory_rows(groups)
    if not rows:
        raise DataError("show memory: a memory that changes over time expected, found none")
    pictures = {"curves.png": draw_curves(groups), "excess.png": draw_excess(rows)}
    for number, (label, members) in enumerate(groups.items(), start=1):
        if members[0].words:
            title = f"{label}, {Path(members[0].path).name}: memories after each word"
            pictures[f"words{number}.png"] = draw_words(members[0], title)
    for name, picture in pictures.items():
        figure.save(picture, out / name)
    verdicts = sentences(rows)
    texts = {
        "memory.md": _page(rows, verdicts, options, list(pictures)),
        "memory.csv": csv_text(rows),
        "memory.json": json_text(groups, rows),
    }
    for name, text in texts.items():
        (out / name).write_text(text, "utf-8")
    written = ", ".join((*texts, *pictures))
    return [*lines, markdown(rows).rstrip(), "", *verdicts, f"wrote {written} to {out}"]


def _page(rows: Sequence[MemoryRow], verdicts: Sequence[str], options: MemoryOptions, pictures: Sequence[str]) -> str:
    """Return the Markdown page: how it was measured, what was found, the table and the pictures."""
    parts = [
        "Written by `python -m experiments.show memory`; docs/memories.md has the definitions.",
        f"At most {options.sequences:,} validation examples, lags up to {options.lags:,} steps. "
        "Means over runs with 95 % t-intervals; trained − untrained is paired by run.",
        *map(markdown_text, verdicts),
        markdown(rows).rstrip(),
        *(f"![{name.removesuffix('.png')}]({name})" for name in pictures),
    ]
    return "\n\n".join(parts) + "\n"
