"""Write the tables and figures of `suite_v1` from the committed metrics, or train its runs again.

    python -m experiments.answer                                  docs/results/answer.md and docs/results/suite_v1/
    python -m experiments.answer --run --dry_run                  the runs of all tasks, with their hours
    python -m experiments.answer --run --tasks=gates --out=again  train them, and write what follows from them
    python -m experiments.answer --smoke --out=again              the same of one task, tiny, in a minute

Every figure follows from docs/results/suite_v1/TASK/runs.tar.gz by the rules of docs/results/suite_v1/protocol.md.
Tasks whose runs are not committed are named. --run goes on where it was stopped. It reads real data in the folder
that NLSTM_JAX_DATA names. See docs/suite.md.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from nlstm_jax import command, settings
from nlstm_jax.errors import ConfigError
from nlstm_jax.installation import IS_WHEEL, ROOT
from nlstm_jax.suite.spec import SuiteSpec, describe_stages

_RUN = flags.DEFINE_bool("run", False, "train the runs of the tasks again; what has been trained is kept")
_TASKS = flags.DEFINE_list("tasks", [], "with --run: the tasks; empty: all")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "with --run: print the runs and their hours, and leave")
_SMOKE = flags.DEFINE_bool("smoke", False, "train tiny runs of one generated task; needs --out")
_WORKDIR = command.define_path("workdir", "", "with --run: folder of the sweeps; empty: suite_v1/sweeps in --out")
_OUT = command.define_path(
    "out", str(ROOT / "docs" / "results"), "folder of the pages, and of suite_v1/ with the metrics"
)
_SLOTS = flags.DEFINE_integer(
    "slots", 0, "with --run: trials at a time; 0: as many as there is room for", lower_bound=0
)


def main(arguments: list[str]) -> None:
    """Train the runs if that is asked for, and write the pages."""
    command.reject_positional(arguments)
    if IS_WHEEL:
        raise ConfigError("answer: a clone of the repository expected, as an installed package has no results")
    try:
        from nlstm_jax.suite.report import write_suite
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError('answer draws with matplotlib: pip install -e ".[report]"') from None
    from configs.sweeps.suite_v1 import report as suite

    if _SMOKE.value and not flags.FLAGS["out"].present:
        raise ConfigError("--smoke: --out, a folder for its results, expected, found none")
    spec = suite.SMOKE_SPEC if _SMOKE.value else suite.SPEC
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(_OUT.value) / spec.name
    if _RUN.value or _SMOKE.value:
        _train(spec, folder, console)
    if _DRY_RUN.value:
        return
    for path in write_suite(folder, spec, settings.with_defaults):
        console.print(f"wrote {path}", markup=False)


def _train(spec: SuiteSpec, folder: Path, console: Console) -> None:
    """Train the runs of the tasks, and write their metrics below the folder of the suite; with --dry_run list them."""
    from configs.sweeps.suite_v1 import designs
    from configs.sweeps.suite_v1 import report as suite
    from nlstm_jax.suite.archive import save_task
    from nlstm_jax.suite.stages import run_stages

    suites = suite.SMOKE_SUITES if _SMOKE.value else suite.SUITES
    workdir = Path(_WORKDIR.value) if _WORKDIR.value else folder / "sweeps"
    together = suite.SMOKE_TOGETHER if _SMOKE.value else 1
    plans = []
    for task in spec.choose(_TASKS.value):
        stages = suite.stages(task, suites[task.name], designs.DESIGNS, workdir)
        console.print(describe_stages(task, stages, share=1.0), markup=False)
        plans.append((task, stages))
    if _DRY_RUN.value:
        return
    for task, stages in plans:
        runs = run_stages(stages, task, workdir, console, slots=_SLOTS.value, together=together)
        save_task(folder / task.name, spec, task, runs, settings.with_defaults)


if __name__ == "__main__":
    command.run(main)
