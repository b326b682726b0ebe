"""Train a cell of your own by the protocol of `suite_v1`, and judge it beside the committed results.

    PYTHONPATH=. python -m experiments.suite --cell=my_package.cells:MinGRU --workdir=sweeps/mingru --fast --dry_run
    PYTHONPATH=. python -m experiments.suite --cell=my_package.cells:MinGRU --workdir=sweeps/mingru --fast
    PYTHONPATH=. python -m experiments.suite --cell=my_package.cells:MinGRU --workdir=sweeps/mingru --tasks=sales
    PYTHONPATH=. python -m experiments.suite --cell=my_package.cells:MinGRU --workdir=sweeps/mingru_smoke --smoke

Only your cell is trained: the frozen draws, the best two in full, the best one with six seeds, and each of these once
on the test split. Its width is fitted to the parameters of the task. The same command goes on where it was stopped.
Real data are read in the folder that NLSTM_JAX_DATA names. The row and its metrics are written to WORKDIR/row. See
docs/suite.md.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from absl import flags
from rich.console import Console

from nlstm_jax import command, settings
from nlstm_jax.errors import ConfigError
from nlstm_jax.installation import IS_WHEEL, ROOT
from nlstm_jax.suite.spec import describe_stages
from nlstm_jax.sweeps import table

_CELL = flags.DEFINE_string("cell", None, "your cell, as package.module:factory", required=True)
_WORKDIR = command.define_path("workdir", None, "the folder of its sweeps and of its row", required=True)
_NAME = flags.DEFINE_string("name", "", "the name of the row; empty: that of the factory")
_TASKS = flags.DEFINE_list("tasks", [], "the tasks; empty: all that have committed results and data here")
_FAST = flags.DEFINE_bool("fast", False, "gates, feeds and quatrains: one hour on two cores for an LSTM")
_SMOKE = flags.DEFINE_bool("smoke", False, "tiny runs of one generated task, which mean nothing")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "print the runs and their hours, and leave")
_RESULTS = command.define_path("results", "", "the committed results; empty: docs/results/suite_v1")
_SLOTS = flags.DEFINE_integer("slots", 0, "trials at a time; 0: as many as there is room for", lower_bound=0)


def main(arguments: list[str]) -> None:
    """Choose the tasks, train the cell on each of them, and write its row."""
    command.reject_positional(arguments)
    if IS_WHEEL:
        raise ConfigError("suite: a clone of the repository expected, as an installed package has no results")
    if _FAST.value and _TASKS.value:
        raise ConfigError("--fast or --tasks: one of them expected, found both")
    try:
        from nlstm_jax.suite import rows
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError('suite reads results with matplotlib: pip install -e ".[report]"') from None
    from configs.sweeps.suite_v1 import report as suite
    from configs.sweeps.suite_v1.designs import data_path
    from nlstm_jax.suite.results import blank_results, read_results
    from nlstm_jax.suite.stages import plan_trials, run_stages

    # In a pipe or file lines need not fit a terminal.
    width = None if sys.stdout.isatty() else 300
    console = Console(highlight=False, soft_wrap=True, width=width)
    spec = suite.SMOKE_SPEC if _SMOKE.value else suite.SPEC
    suites = suite.SMOKE_SUITES if _SMOKE.value else suite.SUITES
    workdir = Path(_WORKDIR.value)
    name = _NAME.value or _CELL.value.rpartition(":")[2]
    designs = {rows.DESIGN: {"cell": _CELL.value}}
    with TemporaryDirectory() as scratch:
        folder = Path(_RESULTS.value or ROOT / "docs" / "results" / spec.name)
        results, missing = read_results(folder, spec, Path(scratch), settings.with_defaults)
        if _SMOKE.value and not _RESULTS.value:
            results = blank_results(spec)
            missing = {}
        names = suite.FAST if _FAST.value else _TASKS.value
        tasks, notes = rows.available_tasks(spec, names, missing, data_path, is_strict=bool(_TASKS.value))
        plans = [(task, suite.stages(task, suites[task.name], designs, workdir)) for task in tasks]
        share = 1 / len(spec.designs)
        for line in (*notes, *(describe_stages(task, stages, share) for task, stages in plans)):
            console.print(line, markup=False)
        if _DRY_RUN.value:
            for _, stages in plans:
                console.print(table.planned(plan_trials(stages[0])))
            return

        together = suite.SMOKE_TOGETHER if _SMOKE.value else 1
        for task, stages in plans:
            runs = run_stages(stages, task, workdir, console, slots=_SLOTS.value, together=together)
            rows.write_row(workdir / rows.ROW, spec, name, _CELL.value, task, runs)
        row = rows.read_row(workdir / rows.ROW, spec, Path(scratch), settings.with_defaults)
        page = rows.row_page(spec, results, row)
        console.print(page, markup=False)
        (workdir / rows.ROW / rows.ROW_PAGE).write_text(page, "utf-8")
    console.print(f"wrote {workdir / rows.ROW}", markup=False)


if __name__ == "__main__":
    command.run(main)
