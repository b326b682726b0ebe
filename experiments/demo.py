"""Three cells of equal cost, three seeds each, on poems: train, compare, write a verse.

    python -m experiments.demo                       generated verse, nothing to download
    python -m experiments.demo --data=my_poems.txt   your poems, parted by blank lines

The same command again goes on where it stopped.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from nlstm_jax import command
from nlstm_jax.errors import InterruptedRunError, RunFinishedError, UserError
from nlstm_jax.installation import SCRIPTS, as_installed
from nlstm_jax.tasks.small_corpus import settings_for_demo

_DATA = command.define_path("data", "", "a file of poems, or a folder of quatrain files; empty: generated verse")
_OUT = command.define_path("out", "", "where the runs and the comparison go; empty: demo, or demo-NAME of the data")
_CELLS = {"lstm": "cell=lstm", "lstm2": "cell=lstm,layers=2", "nlstm2": "cell=nlstm,depth=2"}
_SEEDS = (0, 1, 2)
_NEXT = """Next: train for longer or on more,
  python -m experiments.train --config=poems:cell=nlstm,depth=3 --workdir=runs/nlstm3
or bring your own poems,
  python -m experiments.demo --data=my_poems.txt
or your own cell (README, "Train your own cell")."""
_FINISHED_CODES = (0, RunFinishedError.exit_code)
"""The exit codes of a run that has finished, now or earlier."""


def main(arguments: list[str]) -> None:
    """Train nine runs, one at a time on every core, then compare them and sample a poem."""
    command.reject_positional(arguments)
    console = Console()
    out = Path(_OUT.value) if _OUT.value else _default_folder(_DATA.value)
    data_flags = [f"--config.{key}={value}" for key, value in settings_for_demo(_DATA.value).items()]
    trials = [(f"{name}-seed{seed}", f"{cell},seed={seed}") for seed in _SEEDS for name, cell in _CELLS.items()]
    cores: list[int | None] = [None]
    if hasattr(os, "sched_getaffinity"):
        cores = [*sorted(os.sched_getaffinity(0))]
    (out / "runs").mkdir(parents=True, exist_ok=True)
    console.print(f"{len(trials)} runs, {len(cores)} at a time; each says what it does in {out}/runs/*/log.txt")

    def train(index: int) -> int:
        name, argument = trials[index]
        train_flags = [f"--config=demo:{argument}", f"--workdir={out}/runs/{name}", *data_flags]
        return _run("train", *train_flags, core=cores[index % len(cores)])

    with ThreadPoolExecutor(len(cores)) as pool:
        codes = list(track(pool.map(train, range(len(trials))), "training", len(trials), console=console))
    if any(code not in _FINISHED_CODES for code in codes):
        if InterruptedRunError.exit_code in codes:
            raise InterruptedRunError("interrupted; the same command goes on")
        raise UserError(f"a run failed; see {out}/runs/*/log.txt")

    _run("compare", f"{out}/runs/*", f"--out={out}/comparison", core=None)
    console.print("\nA verse of the Nested LSTM's:\n")
    _run("sample", f"--workdir={out}/runs/nlstm2-seed0", "--temperature=0.7", core=None)
    console.print(f"\nOpen {out}/comparison/compare.html.", as_installed(_NEXT), highlight=False, soft_wrap=True)


def _default_folder(data: str) -> Path:
    """Return the folder of the demo's runs, a folder of its own for every file of poems."""
    return Path(f"demo-{Path(data).resolve().stem}" if data else "demo")


def _run(script: str, *options: str, core: int | None) -> int:
    """Run a script in a new process, and return its exit code. The output of training is discarded.

    Args:
        script: The name of the script in this folder.
        *options: The flags and arguments of the script.
        core: The core that the process runs on; None for any.
    """
    arguments = [sys.executable, "-m", f"{SCRIPTS}.{script}", *options]
    stdout = subprocess.DEVNULL if script == "train" else None
    pin_to_core = None
    if core is not None:
        pin_to_core = partial(os.sched_setaffinity, 0, {core})
    return subprocess.run(arguments, stdout=stdout, preexec_fn=pin_to_core).returncode


if __name__ == "__main__":
    command.run(main)
