"""Run a sweep: many trials, each a run folder, until all have ended.

    python -m experiments.sweep --config=configs/poems.py:params=60000 --grid cell=lstm,nlstm \\
        --grid optimizer.learning_rate=1e-3,3e-3 --seeds=0..2 --workdir=sweeps/rates --dry_run
    python -m experiments.sweep --sweep=configs/sweeps/poems_depth.py --workdir=sweeps/depth
    python -m experiments.compare 'sweeps/depth/trials/*'

The same command goes on after Ctrl-C, a crash or a power cut: trials that have ended are skipped, half-done ones go on
from their last checkpoint. Trials run the code as it was when the sweep was begun. See docs/sweeps.md.
"""

import sys
import zlib
from contextlib import closing
from pathlib import Path

from absl import flags
from ml_collections import config_flags
from rich.console import Console

from nlstm_jax import command
from nlstm_jax.errors import ConfigError, InterruptedRunError, UserError
from nlstm_jax.installation import SWEEPS, as_installed, find_config
from nlstm_jax.process import GracefulShutdown
from nlstm_jax.runs import check_metric_writers
from nlstm_jax.runs.files import writing
from nlstm_jax.sweeps import engines, load, search_page, table
from nlstm_jax.sweeps.file import Sweep
from nlstm_jax.sweeps.folder import LOGS, SEARCH_PAGE, STUDY, SweepFolder
from nlstm_jax.sweeps.grid import plan_grid
from nlstm_jax.sweeps.grouping import grouped
from nlstm_jax.sweeps.queue import Queue
from nlstm_jax.sweeps.screen import LiveDisplay
from nlstm_jax.sweeps.search import Search, connect
from nlstm_jax.sweeps.sources import FixedTrials, Source
from nlstm_jax.wording import count_of

_SWEEP = command.define_path("sweep", None, "the sweep file; --config, --grid and --seeds do without one")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "the config file of all trials and its argument, as for experiments.train", lock_config=True
)
_GRID = flags.DEFINE_multi_string(
    "grid", [], "NAME=VALUE,VALUE: the values of an argument of the config file, or of a setting; may be repeated"
)
_SEEDS = flags.DEFINE_string("seeds", "", "the seeds of every combination of values, e.g. 0..2 or 0,1,5")
_WORKDIR = command.define_path("workdir", None, "the sweep's folder; made if it is missing", required=True)
_ENGINE = flags.DEFINE_enum("engine", "local", engines.ENGINES, "where trials run")
_SLOTS = flags.DEFINE_integer("slots", 0, "trials at a time; 0: as many as there is room for", lower_bound=0)
_CORES = flags.DEFINE_integer("cores", 1, "ray, slurm: cores of a trial", lower_bound=1)
_GPUS = flags.DEFINE_float("gpus", 0.0, "ray, slurm: GPUs of a trial", lower_bound=0.0)
_ADDRESS = flags.DEFINE_string("address", "", "ray: of a cluster; empty: one is started on this machine")
_MINUTES = flags.DEFINE_integer("minutes", 60, "slurm: of a job; one that needs more is queued again", lower_bound=1)
_SLURM = flags.DEFINE_list("slurm", [], "slurm: options of sbatch, e.g. partition=gpu,account=me")
_RETRIES = flags.DEFINE_integer("retries", 1, "how often a trial that fails is tried again", lower_bound=0)
_TOGETHER = flags.DEFINE_integer(
    "together", 1, "so many trials that share a compiled program in one process", lower_bound=1
)
_STORAGE = flags.DEFINE_string("storage", "", "a search's database, as an SQLAlchemy URL; empty: SQLite in the folder")
_STUDY = flags.DEFINE_string("study", "", "a search's name in the database; empty: the sweep file's")
_MIRROR = flags.DEFINE_list("mirror", [], "where the trials' metrics are also shown: tensorboard, wandb, trackio")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "print the trials and leave")


def main(arguments: list[str]) -> None:
    """Load the sweep, check its trials, and run them; with --dry_run print them instead."""
    command.reject_positional(arguments)
    # In a pipe or file lines need not fit a terminal.
    width = None if sys.stdout.isatty() else 300
    console = Console(highlight=False, width=width)

    sweep = _read_sweep()
    check_metric_writers(_MIRROR.value)
    folder = SweepFolder(Path(_WORKDIR.value), _MIRROR.value)
    folder.check(sweep.trials)
    if _DRY_RUN.value:
        trials = sweep.search.examples(5) if sweep.search else sweep.trials
        console.print(table.planned(trials))
        return

    resources = engines.Resources(
        _SLOTS.value, _CORES.value, _GPUS.value, _ADDRESS.value, _MINUTES.value, tuple(_SLURM.value)
    )
    engine = engines.make(_ENGINE.value, resources, folder.path)
    storage = None
    seed = 0
    if sweep.search and _STORAGE.value:
        storage = connect(_STORAGE.value, retries=_RETRIES.value)
        # Sweeps in several folders may share a study; with different seeds they do not propose the same trials.
        seed = zlib.crc32(str(folder.path.absolute()).encode())

    with (
        closing(engine),
        folder.open(sweep.trials, sweep.contrast),
        GracefulShutdown() as shutdown,
        LiveDisplay(console) as display,
    ):
        source: Source = FixedTrials(grouped(sweep.trials, _TOGETHER.value))
        if sweep.search:
            storage = storage or connect(f"sqlite:///{folder.path}/{STUDY}", retries=_RETRIES.value)
            name = _STUDY.value or Path(_SWEEP.value).stem
            source = Search(sweep.search, name=name, storage=storage, folder=folder, seed=seed)
        queue = Queue(folder, source, engine, retries=_RETRIES.value, show=display)
        is_done = queue.run(lambda: shutdown.requested)
        page_note = _write_page(source, folder.path / SEARCH_PAGE) if isinstance(source, Search) else ""

    failed = [entry for entry in queue.entries if entry.state == "failed"]
    for entry in failed:
        console.print(table.describe_failure(entry, folder.path / LOGS), markup=False)
    overhead = table.overhead(queue.entries)
    if overhead:
        console.print(overhead)
    if page_note:
        console.print(page_note, markup=False)
    if not is_done:
        raise InterruptedRunError("interrupted; the same command goes on")
    next_command = as_installed(f"python -m experiments.compare '{folder.path}/trials/*'")
    console.print(f"{table.counted(queue.entries)}: {next_command}", markup=False)
    if failed:
        raise UserError(f"{len(failed)} of {count_of(len(queue.entries), 'trial')} failed")


def _write_page(search: Search, path: Path) -> str:
    """Write the page of a search, and return a line about it. The line is empty if there is nothing to write yet."""
    missing = search_page.missing_package()
    if missing:
        return as_installed(f'{path.name} is drawn with {missing}: pip install -e ".[report]"')
    page = search.page()
    if page is None:
        return ""
    with writing(path):
        path.write_text(page, "utf-8")
    return f"wrote {path}"


def _read_sweep() -> Sweep:
    """Return the sweep of the sweep file, or the one that --config, --grid and --seeds describe.

    Raises:
        ConfigError: There is neither or both, or a mistake in one of them.
    """
    has_config = _CONFIG.present
    if bool(_SWEEP.value) == bool(has_config):
        found = "both" if has_config else "none"
        raise ConfigError(f"--sweep, a sweep file, or --config with --grid and --seeds, expected, found {found}")
    if _SWEEP.value:
        if _GRID.value or _SEEDS.value:
            raise ConfigError("--grid and --seeds: --config expected, found --sweep")
        return load(find_config(_SWEEP.value, SWEEPS))

    command.read_config(_CONFIG)
    config_flag = flags.FLAGS["config"]
    settings = config_flags.get_override_values(config_flag)
    return Sweep(plan_grid(config_flags.get_config_filename(config_flag), _GRID.value, _SEEDS.value, settings))


if __name__ == "__main__":
    command.run(main)
