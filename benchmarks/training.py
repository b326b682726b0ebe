"""Training speed beside a PyTorch loop and Keras' `fit`: `python -m benchmarks.training`.

Trains sales (a Nested LSTM of depth 2, 40 units) and poems (an LSTM of 256 units) with the configurations of
`configs/`, all implementations on the same batches, and reports steps a second from interleaved rounds. Then measures
in fresh processes how long `experiments.train` takes for a run of one step, with its evaluation and checkpoint, if it
has trained that configuration before. Finally compares several seeds in one process with one process after the other.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks import measure
from benchmarks.trainers import TRAINERS
from configs import poems, sales
from nlstm_jax import tasks
from nlstm_jax.process import tune_malloc
from nlstm_jax.types import Config

_ROOT = Path(__file__).resolve().parents[1]

STEPS = 50
"""The number of training steps in a round."""


def main() -> None:
    """Measure, and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poems", default="", help="a folder of quatrain files; generated verse if not given")
    parser.add_argument("--sales", default="", help="a folder with Kaggle's files; a generated world if not given")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each model's implementations together")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    tune_malloc()
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    table: list[str] = []
    for name, config, path in (
        ("sales, NLSTM depth 2", sales.get_config("cell=nlstm"), arguments.sales),
        ("poems, LSTM", poems.get_config("cell=lstm"), arguments.poems),
    ):
        config.data.path = path
        table += compared(name, json.loads(config.to_json()), arguments.seconds)
    table += started()
    table += together(arguments.sales)
    measure.finish("benchmarks.training", table, arguments.out)


def compared(name: str, config: Config, seconds: float) -> list[str]:
    """Return the table of training speeds of one model.

    Args:
        name: The name of the task and the model.
        config: The configuration.
        seconds: The time to measure for.
    """
    task = tasks.build(config)
    cores = len(os.sched_getaffinity(0))
    runs: dict[str, Callable[[int], None]] = {}
    missing = []
    for title, make in TRAINERS.items():
        try:
            runs[title.format(cores)] = make(config, task)
        except ImportError:
            missing.append(title)
    times = measure.interleaved({title: partial(run, STEPS) for title, run in runs.items()}, seconds, 100)
    rates = {title: STEPS / values for title, values in times.items()}
    best = max((title for title in rates if title.startswith("ours")), key=lambda title: np.median(rates[title]))

    data = "real data" if config["data"]["path"] else "generated data"
    sizes = ", ".join(f"{size:,} {what}" for what, size in task.model_dims.items())
    not_installed = "".join(f"; {title} is not installed" for title in missing)
    table = [
        f"**{name}**, {config['cell']['features']} units, batch {config['train']['batch_size']}, {data}, {sizes}; "
        f"{len(rates[best])} rounds of {STEPS} steps{not_installed}",
        "",
        "| | median, steps/s | best | ours / this, median [95 %] |",
        "|---|---:|---:|---:|",
    ]
    for title, values in rates.items():
        shown_title = f"**{title}**" if title == best else title
        ratio = ""
        if not title.startswith("ours"):
            ratio = measure.format_ratio(measure.ratio(rates[best], values))
        table.append(f"| {shown_title} | {np.median(values):.1f} | {values.max():.1f} | {ratio} |")
    return [*table, ""]


def started(repeats: int = 5) -> list[str]:
    """Return a table of the time from the start of a process to the end of its first step, and of the imports."""
    table = [
        f"**Start**, medians of {repeats} fresh processes, of configurations seen before",
        "",
        "| | a run of one step, evaluation and checkpoint, s | imports alone, s |",
        "|---|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NLSTM_JAX_CACHE": f"{folder}/cache"}
        imports = [sys.executable, "-c", "import experiments.train"]
        import_times = [_seconds(imports, environment) for _ in range(repeats)]
        for name, config in (("sales, NLSTM depth 2", "sales.py:cell=nlstm"), ("poems, LSTM", "poems.py:cell=lstm")):
            command = [sys.executable, "-m", "experiments.train", f"--config=configs/{config}"]
            command += ["--config.train.steps=1", "--overwrite", f"--workdir={folder}/run"]
            # The first run fills the caches and is not counted.
            times = [_seconds(command, environment) for _ in range(repeats + 1)]
            table.append(f"| {name} | {np.median(times[1:]):.2f} | {np.median(import_times):.2f} |")
    return [*table, ""]


def together(path: str, seeds: int = 8, steps: int = 500) -> list[str]:
    """Return a table that compares several seeds in one process with one process after the other.

    The table also has the largest relative difference between the curves of the two.

    Args:
        path: The folder of the sales files. Empty for a generated world.
        seeds: The number of seeds.
        steps: The number of training steps of each seed.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NLSTM_JAX_CACHE": f"{folder}/cache"}
        options = [f"--config.data.path={path}", f"--config.train.steps={steps}", "--config.eval.every_steps=100"]

        def command(seed: int, workdir: str) -> list[str]:
            config = f"--config=configs/sales.py:cell=nlstm,seed={seed}"
            return [sys.executable, "-m", "experiments.train", config, *options, f"--workdir={folder}/{workdir}"]

        # These two runs fill the caches of compiled programs and of the data, for both ways of training.
        _seconds([*command(0, "first"), "--vmap_seeds=2"], environment)
        _seconds(command(0, "before"), environment)

        together_seconds = _seconds([*command(0, "together"), f"--vmap_seeds={seeds}"], environment)
        alone_seconds = sum(_seconds(command(seed, f"alone/seed{seed}"), environment) for seed in range(seeds))
        together_curves = _curves(Path(folder) / "together", seeds)
        alone_curves = _curves(Path(folder) / "alone", seeds)
    ratio = together_seconds / alone_seconds
    difference = np.abs(together_curves / alone_curves - 1).max()
    return [
        f"**Seeds together**, sales, NLSTM depth 2, {seeds} seeds, {steps} steps each, start-up included",
        "",
        "| one process after the other, s | `--vmap_seeds`, s | together / alone | curves apart by at most |",
        "|---:|---:|---:|---:|",
        f"| {alone_seconds:.1f} | {together_seconds:.1f} | {ratio:.2f} | {difference:.1e} |",
        "",
    ]


def _curves(folder: Path, seeds: int) -> np.ndarray:
    """Return the log-losses of the runs of all seeds, one row per run."""
    curves = []
    for seed in range(seeds):
        lines = (folder / f"seed{seed}" / "metrics.jsonl").read_text("utf-8").splitlines()
        curves.append([json.loads(line)["log_loss"] for line in lines])
    return np.array(curves)


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return how many seconds it took."""
    start = time.perf_counter()
    subprocess.run(command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
