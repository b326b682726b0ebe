"""Run a sweep: many trials, each a run folder, until all have ended.

    python -m experiments.sweep --sweep=configs/sweeps/poems_depth.py --workdir=sweeps/depth --dry_run
    python -m experiments.sweep --sweep=configs/sweeps/poems_depth.py --workdir=sweeps/depth
    python -m experiments.compare 'sweeps/depth/trials/*'

The same command goes on after Ctrl-C, a crash or a power cut: trials that have ended are skipped, half-done ones go on
from their last checkpoint. Trials run the code as it was when the sweep was begun. See docs/sweeps.md.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from rich.console import Console
from rich.live import Live

from experiments import command
from nlstm_jax.errors import InterruptedRunError, UserError
from nlstm_jax.interruption import Interruption
from nlstm_jax.sweeps import load, table
from nlstm_jax.sweeps.engines import LocalEngine
from nlstm_jax.sweeps.folder import TRIALS, SweepFolder
from nlstm_jax.sweeps.grouping import grouped
from nlstm_jax.sweeps.queue import Entry, Queue
from nlstm_jax.sweeps.sources import Planned

_SWEEP = flags.DEFINE_string("sweep", None, "the sweep file", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "the sweep's folder; made if it is missing", required=True)
_SLOTS = flags.DEFINE_integer("slots", 0, "trials at a time; 0: one a GPU, else one a core", lower_bound=0)
_RETRIES = flags.DEFINE_integer("retries", 1, "how often a trial that fails is tried again", lower_bound=0)
_TOGETHER = flags.DEFINE_integer(
    "together", 1, "so many trials that share a compiled program in one process", lower_bound=1
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "print the trials and leave")


def main(arguments: list[str]) -> None:
    """Load, check, run."""
    command.no_positional(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 300)
    trials = load(Path(_SWEEP.value)).trials
    folder = SweepFolder(Path(_WORKDIR.value))
    folder.check(trials)
    if _DRY_RUN.value:
        console.print(table.planned(trials))
        return
    engine = LocalEngine(_SLOTS.value)
    with folder.open(trials), Interruption() as interruption, Live(console=console, auto_refresh=False) as live:

        def show(entries: Sequence[Entry]) -> None:
            live.update(table.going(entries, shutil.get_terminal_size().lines), refresh=True)

        queue = Queue(folder, Planned(grouped(trials, _TOGETHER.value)), engine, retries=_RETRIES.value, show=show)
        done = queue.run(lambda: interruption.requested)
    engine.close()
    failed = [entry for entry in queue.entries if entry.state == "failed"]
    for entry in failed:
        console.print(
            f"{entry.trial.name} failed; {folder.path}/logs has all that it said, which ends with\n{entry.said}"
        )
    console.print(table.overhead(queue.entries))
    if not done:
        raise InterruptedRunError("interrupted; the same command goes on")
    console.print(f"{table.counted(queue.entries)}: python -m experiments.compare '{folder.path / TRIALS}/*'")
    if failed:
        raise UserError(f"{len(failed)} of {len(trials)} trials failed")


if __name__ == "__main__":
    command.run(main)
