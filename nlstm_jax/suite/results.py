"""The committed results of a suite: the judging runs of every task, read from their archives."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlstm_jax.analysis.curves import Group, run_best
from nlstm_jax.analysis.results import ARCHIVE
from nlstm_jax.errors import DataError
from nlstm_jax.runs import Run, read_run, unpack_archive
from nlstm_jax.runs.reader import ConfigTransform
from nlstm_jax.suite.spec import SuiteSpec, SuiteTask
from nlstm_jax.types import JsonObject

CHANCE = "chance.json"
"""The file of a suite with the loss of chance of each task, by its name."""
MEMORY = "memory.json"
"""The file of a suite with the peak memory of each task and design, in MiB."""
_RUN_NAME = re.compile(r"(?:[a-z0-9]+-)?([A-Z]+)-draw\d+-seed\d+")
"""The name of a run folder, e.g. `gates-N-draw3-seed10`."""


@dataclass(frozen=True)
class TaskResult:
    """The judging runs of one task.

    Attributes:
        task: The task.
        designs: The runs of each design, by its name.
        chance: The value of the metric by chance. None if it is unknown.
        memory: The peak memory of each design in MiB. Empty if it has not been measured.
    """

    task: SuiteTask
    designs: Mapping[str, Group]
    chance: float | None
    memory: Mapping[str, float]


def read_results(
    folder: Path, spec: SuiteSpec, scratch: Path, with_defaults: ConfigTransform
) -> tuple[dict[str, TaskResult], dict[str, str]]:
    """Read the committed results of a suite.

    Args:
        folder: The folder with one folder for each task.
        spec: The suite.
        scratch: An empty folder, into which the archives are unpacked. The results read it later.
        with_defaults: The function that is applied to every configuration, e.g. `settings.with_defaults`.

    Returns:
        The results by the names of the tasks, and the reasons why the other tasks have none.

    Raises:
        DataError: An archive is damaged.
    """
    results = {}
    missing = {}
    chances = _read_json(folder / CHANCE)
    memory = _read_json(folder / MEMORY)
    for task in spec.tasks:
        archive = folder / task.name / ARCHIVE
        if not archive.exists():
            missing[task.name] = "the runs are not committed"
            continue
        designs = read_designs(archive, scratch / task.name, with_defaults)
        reason = incomplete_reason(task, designs, list(spec.designs))
        if reason:
            missing[task.name] = reason
            continue
        chance = _chance(task, designs[spec.subject].runs[0], chances)
        in_order = {design: designs[design] for design in spec.designs}
        peaks = memory.get(task.name, {})
        known_peaks = {design: peaks[design] for design in spec.designs if design in peaks}
        results[task.name] = TaskResult(task, in_order, chance, known_peaks)
    return results, missing


def blank_results(spec: SuiteSpec) -> dict[str, TaskResult]:
    """Return results without any design, beside which a row stands alone."""
    return {task.name: TaskResult(task, {}, None, {}) for task in spec.tasks}


def read_designs(archive: Path, scratch: Path, with_defaults: ConfigTransform) -> dict[str, Group]:
    """Unpack an archive of judging runs, and return the runs of each design by its name.

    Raises:
        DataError: The archive is damaged, or has a run of another name than `N-draw3-seed10`.
    """
    runs: dict[str, list[Run]] = {}
    for path in unpack_archive(archive, scratch):
        design = design_of(path.name)
        if not design:
            raise DataError(f"{archive}: runs with names like N-draw3-seed10 expected, found {path.name}")
        runs.setdefault(design, []).append(read_run(path, with_defaults))
    return {design: Group(design, tuple(group)) for design, group in runs.items()}


def design_of(run_name: str) -> str:
    """Return the design of a judging run by the name of its folder, or an empty text if the name is another one.

    >>> design_of("gates-N-draw3-seed10")
    'N'
    """
    match = _RUN_NAME.fullmatch(run_name)
    return match[1] if match else ""


def incomplete_reason(task: SuiteTask, designs: Mapping[str, Group], expected: Sequence[str]) -> str:
    """Return why the runs of a task give no verdict yet, or an empty text if they are complete.

    Args:
        task: The task.
        designs: The runs of each design.
        expected: The names of the designs.
    """
    for design in expected:
        count = len(designs[design].runs) if design in designs else 0
        if count != task.runs:
            return f"{task.runs} runs of each design expected, found {count} of {design}"
        for run in designs[design].runs:
            best = run_best(run, task.metric)
            if best is None:
                return f"{run.path.name} has no {task.metric}"
            if task.level is None and best.test is None:
                return f"{run.path.name} has not been evaluated on the test split"
    return ""


def _chance(task: SuiteTask, run: Run, measured: JsonObject) -> float | None:
    """Return the value of the metric by chance on the test split, or None if it is unknown.

    Args:
        task: The task.
        run: Any judging run of the task.
        measured: The content of `CHANCE`. An entry counts if it was measured on the data of the run.
    """
    log_loss = task.chance
    entry = measured.get(task.name)
    if entry and entry["checksums"] == run.environment.get("data", {}).get("checksums"):
        log_loss = entry["log_loss"]
    if log_loss is None or task.metric == "log_loss":
        return log_loss
    # The metric is the excess over the optimum, which any run tells.
    test = (run.summary or {})["test"]
    return log_loss - float(test["log_loss"] - test["excess"])


def _read_json(path: Path) -> JsonObject:
    """Return the content of a JSON file, or an empty mapping if there is none.

    Raises:
        DataError: The file is not JSON.
    """
    if not path.exists():
        return {}
    try:
        document: JsonObject = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: a JSON file expected: {error}") from None
    return document
