"""`fit`: train a run from its configuration, or go on where an earlier call stopped; `fit_together`: several at once.

Both check everything, read the data, make the programs and open the run folders; `loop.train` does the rest.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
from rich.console import Console

from nlstm_jax import tasks
from nlstm_jax.process import GracefulShutdown
from nlstm_jax.runs import check_metric_writers, flatten
from nlstm_jax.training import hosts
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.logger import RunLogger
from nlstm_jax.training.loop import train
from nlstm_jax.training.online import fit_online
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.question import check_same_question
from nlstm_jax.training.record import RunRecord
from nlstm_jax.training.run import TrainingRun
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.setup import as_mapping, make_groups, unfinished_runs
from nlstm_jax.training.unroll_loop import choose_loop, recorded_loop
from nlstm_jax.types import Config, JsonObject


def fit(
    config: Config,
    workdir: Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    metric_writers: Sequence[str] = (),
) -> JsonObject:
    """Train a configuration in a run folder; the same call again goes on where this one stopped.

    Everything is checked, and the data read, before the folder is made. Of several processes
    (`process.initialize_distributed`) the first has the folder, and all share every batch. The test split is not
    looked at, unless `config.eval.test_curve` asks for its curve, and decides nothing.

    Args:
        config: A configuration of `configs/`, or a mapping of the same form.
        workdir: The run folder.
        overwrite: Whether to start anew there.
        console: The console for log lines; None: standard output.
        metric_writers: The names of further places for the metrics: `tensorboard`, `wandb`, `trackio`.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        ConfigError: a setting that does not serve, or a folder of another run.
        DataError: data that are missing, not of their form, or other than those that the run was begun with.
        DivergedError: a loss, gradient or parameter is not finite, see `config.train.nonfinite`; the summary says so.
        CheckpointError: the run has checkpoints, and none of them is whole.
        StorageError: a file cannot be written, e.g. on a full disk; the same command goes on after room is made.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is written and the same command goes on.
        RunFinishedError, RunFolderInUseError: see `RunFolder`.
    """
    if config["train"].get("online"):
        return fit_online(config, workdir, overwrite=overwrite, console=console, metric_writers=metric_writers)
    summaries = fit_together([config], [workdir], overwrite=overwrite, console=console, metric_writers=metric_writers)
    return summaries[0]


def fit_together(
    configs: Sequence[Config],
    workdirs: Sequence[Path],
    *,
    overwrite: bool = False,
    console: Console | None = None,
    vmap: bool | None = None,
    metric_writers: Sequence[str] = (),
) -> list[JsonObject]:
    """Train several configurations at once, in one process: data are read and steps compiled once for all.

    Each has its own run folder, the same as if it had been trained alone: a call for one goes on from the folder that
    a call for several left, and the reverse. Runs that have finished are left out. A run that diverges or stops early
    does not disturb the others.

    On accelerators all of them are one program, `jax.vmap` of a run's, in which several devices share the runs, or the
    batches if their number is no multiple of the devices'. On CPU devices every run has one device to itself, and
    equals a run alone bit for bit; a step of eight small models at once would take longer there than eight steps.

    Args:
        configs: Configurations that may differ in `seeds`, in `name`, and in the numbers `optimizer.learning_rate`,
            `weight_decay`, `epsilon` and `clip_norm` (in all of them 0, or in none).
        workdirs: The run folders.
        overwrite, console, metric_writers: See `fit`.
        vmap: Whether to make one program of all runs; None: on accelerators.

    Returns:
        The summaries of the runs trained, in order.

    Raises:
        ConfigError: also configurations that differ in something else.
        DivergedError, InterruptedRunError, RunFinishedError: some have diverged; all were interrupted; there is none
            left to train.
    """
    configs = [as_mapping(config) for config in configs]
    console = console or Console()
    with ExitStack() as stack:
        if not hosts.is_first():
            scratch = Path(stack.enter_context(TemporaryDirectory()))
            workdirs = [scratch / str(index) for index in range(len(configs))]
            console = Console(quiet=True)
            metric_writers = ()

        expected = {f"config.{key}": value for key, value in flatten(configs[0]).items() if key != "data.path"}
        hosts.assert_equal_across_processes({**expected, "number of devices": jax.local_device_count()})
        with hosts.raise_everywhere():
            pending = unfinished_runs(configs, workdirs, overwrite)
            check_metric_writers(metric_writers)
            config = pending[0].config
            task = tasks.build(config)
            if not overwrite:
                for run in pending:
                    check_same_question(run.workdir, run.config, task)
            schedule = TrainingSchedule.from_config(config, task.splits["train"].size)
            optimizer = OptimizerFactory.from_config(config, schedule)
            models = [initial_model(run.config, task) for run in pending]
        recorded = hosts.gather(None if overwrite else recorded_loop(pending[0].workdir, config))[0]
        one_program = jax.default_backend() != "cpu" if vmap is None else vmap
        # A group that has shrunk to one run keeps the mode it started in, so that its numbers do not change.
        separate_devices = len(configs) > 1 and not one_program
        has_own_device = separate_devices or (len(configs) == 1 and jax.device_count() == 1)
        one_device = has_own_device and config["train"]["shards"] == 1
        loop = choose_loop(config, models, recorded, one_device=one_device)
        with hosts.raise_everywhere():
            groups = make_groups(config, task, optimizer, models, separate_devices=separate_devices)
        checksums = {f"sha256 of {name}": digest for name, digest in task.metadata["checksums"].items()}
        hosts.assert_equal_across_processes(checksums)

        with hosts.raise_everywhere():
            for index, (run, model) in enumerate(zip(pending, models, strict=True)):
                run_console = console if len(pending) == 1 else Console(quiet=True)
                record = stack.enter_context(
                    RunRecord.in_folder(
                        run.workdir,
                        run.config,
                        task,
                        loop,
                        overwrite=overwrite,
                        console=run_console,
                        metric_writers=metric_writers,
                    )
                )
                group = groups[index % len(groups)]
                state = group.steps.init_state(model, traced_hparams(run.config), run.config["train"]["batch_size"])
                own_optimizer = OptimizerFactory.from_config(run.config, schedule)
                group.runs.append(TrainingRun(record, state, own_optimizer))
                logger = record.logger
        if len(pending) > 1:
            logger = stack.enter_context(RunLogger(None, console))
        return train(groups, logger, stack.enter_context(GracefulShutdown(at_once=True)))
