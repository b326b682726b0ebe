"""Rows of a suite: cells of others, trained by its protocol, beside the committed designs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlstm_jax.analysis.curves import Group
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs import Run, files, make_folder, write_archive
from nlstm_jax.runs.reader import ConfigTransform
from nlstm_jax.suite.results import TaskResult, incomplete_reason, read_designs
from nlstm_jax.suite.spec import SuiteSpec, SuiteTask
from nlstm_jax.suite.tables import contrast_table, design_tables
from nlstm_jax.suite.verdicts import contrast, corrected, diverged_runs

ROWS = "rows"
"""The folder of a suite with one folder for each row."""
ROW = "row"
"""The folder of a new row, in the folder of its sweeps."""
ROW_FILE = "row.json"
ROW_PAGE = "row.md"
DESIGN = "X"
"""The name of a row's design in the names of its run folders, e.g. `X-draw3-seed10`."""
_ARCHIVE_SUFFIX = ".tar.gz"
_CLOSE = 0.01
"""The relative difference of parameter counts above which a row says so."""


@dataclass(frozen=True)
class SuiteRow:
    """A cell that was trained by the protocol of a suite.

    Attributes:
        name: The name of the row in tables.
        cell: The cell, `package.module:factory`.
        groups: The judging runs by the name of the task.
    """

    name: str
    cell: str
    groups: Mapping[str, Group]


def available_tasks(
    spec: SuiteSpec,
    names: Sequence[str],
    missing: Mapping[str, str],
    data_path: Callable[[str], str],
    *,
    is_strict: bool,
) -> tuple[list[SuiteTask], list[str]]:
    """Return the tasks on which a row can be judged, and a line for each task that is left out.

    Args:
        spec: The suite.
        names: The names of the tasks. None means all.
        missing: Why some tasks have no committed result, by name.
        data_path: The function that returns the path of a folder of real data.
        is_strict: True if no task may be left out.

    Raises:
        ConfigError: A task may not be left out, or no task remains.
    """
    tasks = []
    notes = []
    for task in spec.choose(names):
        path = data_path(task.data)
        if task.name in missing:
            notes.append(f"{task.name}: left out, as there is nothing to compare with: {missing[task.name]}")
        elif task.data and not Path(path).is_dir():
            notes.append(f"{task.name}: left out, as its data are missing: a folder {path} expected (NLSTM_JAX_DATA)")
        else:
            tasks.append(task)
    if notes and (is_strict or not tasks):
        raise ConfigError("\n".join(notes))
    return tasks, notes


def write_row(folder: Path, spec: SuiteSpec, name: str, cell: str, task: SuiteTask, runs: Sequence[Run]) -> None:
    """Add the metrics of a task's judging runs to a row.

    Args:
        folder: The folder of the row, which is created if necessary.
        spec: The suite.
        name: The name of the row in tables.
        cell: The cell, `package.module:factory`.
        task: The task.
        runs: The judging runs.
    """
    make_folder(folder, "row")
    files.write_json(folder / ROW_FILE, {"suite": spec.name, "name": name, "cell": cell})
    write_archive(folder / f"{task.name}{_ARCHIVE_SUFFIX}", runs, task.metric)


def read_rows(folder: Path, spec: SuiteSpec, scratch: Path, with_defaults: ConfigTransform) -> dict[str, SuiteRow]:
    """Read the rows of a suite by the names of their folders. See `read_row`.

    Args:
        folder: The folder of the suite.
        spec: The suite.
        scratch: A folder, into which the archives are unpacked. The rows read it later.
        with_defaults: The function that is applied to every configuration.
    """
    rows = {}
    for path in sorted((folder / ROWS).glob(f"*/{ROW_FILE}")):
        row_folder = path.parent
        rows[row_folder.name] = read_row(row_folder, spec, scratch / row_folder.name, with_defaults)
    return rows


def read_row(folder: Path, spec: SuiteSpec, scratch: Path, with_defaults: ConfigTransform) -> SuiteRow:
    """Read a row, as `write_row` writes it.

    Args:
        folder: The folder of the row.
        spec: The suite.
        scratch: A folder, into which the archives are unpacked. The row reads it later.
        with_defaults: The function that is applied to every configuration.

    Raises:
        DataError: The row is of another suite, or one of its files is missing or damaged.
    """
    path = folder / ROW_FILE
    document = files.read_json(path)
    for key in ("suite", "name", "cell"):
        if not isinstance(document.get(key), str):
            raise DataError(f"{path}: {key}: a text expected, found {document.get(key)!r}")
    if document["suite"] != spec.name:
        raise DataError(f"{path}: a row of {spec.name} expected, found one of {document['suite']}")
    groups = {}
    for task in spec.tasks:
        archive = folder / f"{task.name}{_ARCHIVE_SUFFIX}"
        if archive.exists():
            designs = read_designs(archive, scratch / f"row-{task.name}", with_defaults)
            groups[task.name] = _row_group(designs, archive, document["name"])
    return SuiteRow(document["name"], document["cell"], groups)


def row_page(spec: SuiteSpec, results: Mapping[str, TaskResult], row: SuiteRow) -> str:
    """Return the page of a row: its losses beside those of the designs, and the verdicts.

    Holm's method corrects all p-values of the row together.

    Args:
        spec: The suite.
        results: The committed results.
        row: The row.

    Raises:
        ConfigError: A task of the row has no committed result, the runs of the row are incomplete, or they were made
            on other data than those of the suite.
    """
    with_row = []
    contrasts = []
    notes = []
    for name, group in row.groups.items():
        if name not in results:
            raise ConfigError(f"{row.name}: committed results of {name} expected in {spec.name}, found none")
        result = results[name]
        reason = incomplete_reason(result.task, {row.name: group}, [row.name])
        if reason:
            raise ConfigError(f"{row.name}: {name}: {reason}")
        _check_question(row.name, result, group)
        with_row.append(replace(result, designs={**result.designs, row.name: group}))
        contrasts += [contrast(with_row[-1], group, other) for other in result.designs.values()]
        notes += _notes(row.name, result, group)
    missing = [task.title for task in spec.tasks if task.name not in row.groups]
    parts = [
        f"# {spec.name}: {row.name}",
        f"Written by `python -m experiments.suite` and `python -m experiments.answer`. The cell is `{row.cell}`. It "
        f"was trained by the protocol of {spec.name}, and stands beside the committed runs of the designs. Holm's "
        f"method corrects the {len(contrasts)} p-values of this page together. The row is exploratory.",
        design_tables(with_row),
        contrast_table(corrected(contrasts, len(contrasts))),
        *notes,
    ]
    if missing:
        parts.append(f"Tasks that this row lacks: {', '.join(missing)}.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _row_group(designs: Mapping[str, Group], archive: Path, name: str) -> Group:
    """Return the runs of a row as a group with the name of the row."""
    if set(designs) != {DESIGN}:
        raise DataError(f"{archive}: runs of the design {DESIGN} expected, found {', '.join(designs)}")
    return Group(name, designs[DESIGN].runs)


def _notes(name: str, result: TaskResult, group: Group) -> list[str]:
    """Return notes on a row's models and on its diverged runs."""
    notes = []
    sizes = [design.parameters for design in result.designs.values() if design.parameters]
    size = group.parameters
    if size and sizes and not (1 - _CLOSE) * min(sizes) <= size <= (1 + _CLOSE) * max(sizes):
        notes.append(
            f"{result.task.title}: the model of {name} has {size:,} parameters, those of the designs "
            f"{min(sizes):,} to {max(sizes):,}."
        )
    diverged = diverged_runs({name: group})
    if diverged:
        notes.append(f"{result.task.title}: diverged, and counted with the best step: {', '.join(diverged)}.")
    return notes


def _check_question(name: str, result: TaskResult, group: Group) -> None:
    """Raise a ConfigError if the runs of a row answer another question than the committed ones."""
    committed = [run for design in result.designs.values() for run in design.runs]
    expected = {json.dumps(run.question, sort_keys=True) for run in committed}
    if not expected:
        return
    for run in group.runs:
        if json.dumps(run.question, sort_keys=True) not in expected:
            raise ConfigError(
                f"{name}: {run.path.name}: the data and the settings of {result.task.name} in the suite expected, "
                "found others"
            )
