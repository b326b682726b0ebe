"""Writing of the committed results of a suite's task: the metrics of its judging runs, and their comparison."""

from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.analysis.figure import PlotOptions
from nlstm_jax.analysis.results import save_result, write_result
from nlstm_jax.analysis.run_comparison import ComparisonRequest
from nlstm_jax.runs import Run, make_folder
from nlstm_jax.runs.reader import ConfigTransform
from nlstm_jax.suite.results import design_of
from nlstm_jax.suite.spec import SuiteSpec, SuiteTask


def save_task(
    folder: Path, spec: SuiteSpec, task: SuiteTask, runs: Sequence[Run], with_defaults: ConfigTransform
) -> list[str]:
    """Write the judging runs of a task as `experiments.compare --margin --archive` does.

    Args:
        folder: The folder of the task, which is created if necessary.
        spec: The suite.
        task: The task.
        runs: The judging runs of all designs.
        with_defaults: The function that is applied to every configuration.

    Returns:
        The names of the files.
    """
    names = {design_of(run.path.name): str(run.config["name"]) for run in runs}
    contrast = (names[spec.subject], names[spec.primary])
    group_by: list[str] = []
    if task.level is not None:
        # Every run has settings of its own.
        group_by = ["name"]
        contrast = (f"name={contrast[0]}", f"name={contrast[1]}")
    options = PlotOptions(task.metric, "step", False, False)
    request = ComparisonRequest(options, contrast=contrast, group_by=group_by, level=task.level, margin=task.margin)
    make_folder(folder, "--out")
    return [*save_result(folder, list(runs), request), *write_result(folder, with_defaults)]
