"""How fast a model is trained, beside a PyTorch loop and Keras' `fit`: `python -m benchmarks.training`.

Sales (a Nested LSTM of depth 2, 40 units) and poems (an LSTM of 256 units) with the configurations of `configs/`, from
the same batches; steps a second, in interleaved rounds. Then, in fresh processes, how long `experiments.train` takes
for a run of one step, with its evaluation and checkpoint, when it has seen the configuration before.
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
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.trainers import TRAINERS
from configs import poems, sales
from nlstm_jax import tasks
from nlstm_jax.process import tune_malloc

_ROOT = Path(__file__).resolve().parents[1]
STEPS = 50


def main() -> None:
    """Measure, print, and write the tables."""
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


def compared(name: str, config: dict[str, Any], seconds: float) -> list[str]:
    """One model's table."""
    task = tasks.build(config)
    cores = len(os.sched_getaffinity(0))
    runs: dict[str, Callable[[int], None]] = {}
    missing = []
    for title, make in TRAINERS.items():
        try:
            runs[title.format(cores)] = make(config, task)
        except ImportError:
            missing.append(title)
    taken = measure.interleaved({title: partial(run, STEPS) for title, run in runs.items()}, seconds, 100)
    rates = {title: STEPS / values for title, values in taken.items()}
    best = max((title for title in rates if title.startswith("ours")), key=lambda title: np.median(rates[title]))
    data = "real data" if config["data"]["path"] else "generated data"
    sizes = ", ".join(f"{size:,} {what}" for what, size in task.model_dims.items())
    table = [
        f"**{name}**, {config['cell']['features']} units, batch {config['train']['batch_size']}, {data}, {sizes}; "
        f"{len(rates[best])} rounds of {STEPS} steps" + "".join(f"; {each} is not installed" for each in missing),
        "",
        "| | median, steps/s | best | ours / this, median [95 %] |",
        "|---|---:|---:|---:|",
    ]
    for title, values in rates.items():
        against = "{:.2f} [{:.2f}, {:.2f}]".format(*measure.ratio(rates[best], values))
        bold = "**" if title == best else ""
        table.append(
            f"| {bold}{title}{bold} | {np.median(values):.1f} | {values.max():.1f} | "
            f"{'' if title.startswith('ours') else against} |"
        )
    return [*table, ""]


def started(repeats: int = 5) -> list[str]:
    """From the start of a process to its first step, and how much of it is imports."""
    imports = "import experiments.train"
    table = [
        f"**Start**, medians of {repeats} fresh processes, of configurations seen before",
        "",
        "| | a run of one step, evaluation and checkpoint, s | imports alone, s |",
        "|---|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NLSTM_JAX_CACHE": f"{folder}/cache"}
        alone = [_seconds([sys.executable, "-c", imports], environment) for _ in range(repeats)]
        for name, config in (("sales, NLSTM depth 2", "sales.py:cell=nlstm"), ("poems, LSTM", "poems.py:cell=lstm")):
            command = [sys.executable, "-m", "experiments.train", f"--config=configs/{config}"]
            command += ["--config.train.steps=1", "--overwrite", f"--workdir={folder}/run"]
            taken = [_seconds(command, environment) for _ in range(repeats + 1)]
            table.append(f"| {name} | {np.median(taken[1:]):.2f} | {np.median(alone):.2f} |")
    return [*table, ""]


def together(path: str, seeds: int = 8, steps: int = 500) -> list[str]:
    """Several seeds in one process, beside one process after the other; and how far their curves are apart."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NLSTM_JAX_CACHE": f"{folder}/cache"}
        options = [f"--config.data.path={path}", f"--config.train.steps={steps}", "--config.eval.every_steps=100"]

        def command(seed: int, workdir: str) -> list[str]:
            config = f"--config=configs/sales.py:cell=nlstm,seed={seed}"
            return [sys.executable, "-m", "experiments.train", config, *options, f"--workdir={folder}/{workdir}"]

        # Both find compiled programs, and the data read.
        _seconds([*command(0, "first"), "--vmap_seeds=2"], environment)
        _seconds(command(0, "before"), environment)
        at_once = _seconds([*command(0, "together"), f"--vmap_seeds={seeds}"], environment)
        alone = [_seconds(command(seed, f"alone/seed{seed}"), environment) for seed in range(seeds)]
        curves = {
            where: [_curve(Path(folder) / where / f"seed{seed}") for seed in range(seeds)]
            for where in ("together", "alone")
        }
    apart = np.abs(np.array(curves["together"]) / np.array(curves["alone"]) - 1)
    return [
        f"**Seeds together**, sales, NLSTM depth 2, {seeds} seeds, {steps} steps each, start-up included",
        "",
        "| one process after the other, s | `--vmap_seeds`, s | together / alone | curves apart by at most |",
        "|---:|---:|---:|---:|",
        f"| {sum(alone):.1f} | {at_once:.1f} | {at_once / sum(alone):.2f} | {apart.max():.1e} |",
        "",
    ]


def _curve(run: Path) -> list[float]:
    return [json.loads(line)["log_loss"] for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
