"""The stages of a suite's runs: trials are trained by the engine of a sweep, then evaluated once on the test split."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from nlstm_jax import settings
from nlstm_jax.errors import InterruptedRunError, UserError
from nlstm_jax.process import GracefulShutdown
from nlstm_jax.runs import Run, read_run
from nlstm_jax.suite.spec import Stage, SuiteTask
from nlstm_jax.sweeps import Trial, TrialCollector, engines, table
from nlstm_jax.sweeps.folder import LOGS, SweepFolder
from nlstm_jax.sweeps.grouping import grouped
from nlstm_jax.sweeps.queue import Queue
from nlstm_jax.sweeps.screen import LiveDisplay
from nlstm_jax.sweeps.sources import FixedTrials
from nlstm_jax.training import load_run


def run_stages(
    stages: Sequence[Stage], task: SuiteTask, workdir: Path, console: Console, *, slots: int = 0, together: int = 1
) -> list[Run]:
    """Train all runs of a task, stage by stage, and return those of the last stage, evaluated on the test split.

    Args:
        stages: The sweeps of the task.
        task: The task.
        workdir: The folder of the sweeps.
        console: The console that shows the trials.
        slots: The number of trials at a time; 0: as many as there is room for.
        together: The number of trials that share a compiled program in one process.

    Raises:
        ConfigError: A trial is not valid, or a folder has a trial of its name and another configuration.
        InterruptedRunError: The user stopped the training.
        UserError: A trial failed.
    """
    paths: list[Path] = []
    for stage in stages:
        paths = train_trials(workdir / stage.folder, plan_trials(stage), console, slots=slots, together=together)
    return evaluate_on_test(paths, task)


def plan_trials(stage: Stage) -> list[Trial]:
    """Return the trials of a stage.

    Raises:
        ConfigError: A trial is not valid, or an earlier stage has not ended.
    """
    collector = TrialCollector(stage.folder)
    stage.add_trials(collector.add)
    return collector.trials


def train_trials(
    path: Path, trials: Sequence[Trial], console: Console, *, slots: int = 0, together: int = 1
) -> list[Path]:
    """Train trials until all have ended. Those that have ended before are skipped.

    Args:
        path: The folder of the sweep.
        trials: The trials.
        console: The console that shows the trials.
        slots: The number of trials at a time; 0: as many as there is room for.
        together: The number of trials that share a compiled program in one process.

    Returns:
        The run folders.

    Raises:
        ConfigError: The folder has a trial of the same name and another configuration.
        InterruptedRunError: The user stopped the training.
        UserError: A trial failed.
    """
    folder = SweepFolder(path)
    folder.check(trials)
    engine = engines.make("local", engines.Resources(slots), folder.path)
    source = FixedTrials(grouped(trials, together))
    with closing(engine), folder.open(trials), GracefulShutdown() as shutdown, LiveDisplay(console) as display:
        queue = Queue(folder, source, engine, retries=1, show=display)
        is_done = queue.run(lambda: shutdown.requested)
    failed = [entry for entry in queue.entries if entry.state == "failed"]
    for entry in failed:
        console.print(table.describe_failure(entry, folder.path / LOGS), markup=False)
    if not is_done:
        raise InterruptedRunError("interrupted; the same command goes on")
    if failed:
        raise UserError(f"{len(failed)} of {len(trials)} trials failed, see {folder.path / LOGS}")
    return [folder.trial(trial.name) for trial in trials]


def evaluate_on_test(paths: Sequence[Path], task: SuiteTask) -> list[Run]:
    """Evaluate runs on the test split at their best steps, each once, and return the runs.

    Args:
        paths: The folders of runs that have ended.
        task: The task.
    """
    runs = []
    for path in paths:
        run = read_run(path, settings.with_defaults)
        if task.metric not in (run.summary or {}).get("test", {}):
            load_run(path, "best").evaluate("test")
            run = read_run(path, settings.with_defaults)
        runs.append(run)
    return runs
