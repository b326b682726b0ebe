"""Whole training steps by the native loop and by the fused one: `python -m benchmarks.training_native`.

Each loop trains in a process of its own: batches, model, gradient clipping and optimizer, as `experiments.train` does.
The processes take turns, a block of steps each, and the first of a round changes. The sales model is also trained by
Keras' `fit` on JAX. The models are those of `configs/` and the four designs of `configs/sweeps/suite_v1`.

    python -m benchmarks.training_native --data=data --out=docs/results/speed_training_native.md
    taskset -c 0 python -m benchmarks.training_native --data=data --out=docs/results/speed_training_native.md

The page has one table for each number of cores. `--rows` measures some rows anew and keeps the others, which are in
the JSON file beside the page. Needs a quiet machine and a C++ compiler.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from benchmarks import measure, trainers
from configs import poems, ptb, sales
from configs.sweeps.suite_v1.designs import DESIGNS, Suite
from configs.sweeps.suite_v1.tasks import PTB, QUATRAINS
from nlstm_jax import tasks
from nlstm_jax.process import tune_malloc
from nlstm_jax.types import Float, JsonObject
from nlstm_jax.unroll import native

BLOCK_SECONDS = 0.5
"""The duration of a block of steps, about."""
DROPOUT = 0.25
"""The rate of the designs of the suite, the middle of its prior."""
GET_CONFIG = {"configs/ptb.py": ptb.get_config, "configs/poems.py": poems.get_config}
KERAS = "Keras"
HEADER = [
    "| | native, ms a step: minimum, median | fused: median, ms | Keras `fit`: median, ms "
    "| native / fused [95 %] | native / Keras [95 %] | rounds |",
    "|---|---:|---:|---:|---:|---:|---:|",
]


class Row(NamedTuple):
    """A model that is trained.

    Attributes:
        folder: The name of its folder of data.
        make: The function that makes its configuration.
        contestants: The loops, and `KERAS` if Keras trains it too.
    """

    folder: str
    make: Callable[[], ConfigDict]
    contestants: tuple[str, ...] = ("native", "fused")


def design(suite: Suite, name: str) -> ConfigDict:
    """Return the configuration of a design of the suite, whose dropout is the middle of the prior."""
    arguments = {**DESIGNS[name], **suite.arguments, "model_params": suite.model_params}
    config = GET_CONFIG[suite.config](",".join(f"{key}={value}" for key, value in arguments.items()))
    settings = {**suite.settings, **dict.fromkeys(suite.dropout_keys, DROPOUT)}
    config.update_from_flattened_dict(settings)
    return config


ROWS = {
    "sales, NLSTM depth 2": Row("sales", lambda: sales.get_config("cell=nlstm"), ("native", "fused", KERAS)),
    "poems, LSTM": Row("poems", lambda: poems.get_config("cell=lstm")),
    "poems, NLSTM depth 2": Row("poems", lambda: poems.get_config("cell=nlstm")),
    "PTB, 2-layer LSTM": Row("ptb", lambda: ptb.get_config("cell=lstm,layers=2")),
    "PTB, NLSTM depth 2": Row("ptb", lambda: ptb.get_config("cell=nlstm")),
    "suite_v1 quatrains, W": Row("poems", lambda: design(QUATRAINS, "W")),
    "suite_v1 quatrains, S": Row("poems", lambda: design(QUATRAINS, "S")),
    "suite_v1 quatrains, N": Row("poems", lambda: design(QUATRAINS, "N")),
    "suite_v1 quatrains, D": Row("poems", lambda: design(QUATRAINS, "D")),
    "suite_v1 PTB, W": Row("ptb", lambda: design(PTB, "W")),
    "suite_v1 PTB, S": Row("ptb", lambda: design(PTB, "S")),
    "suite_v1 PTB, N": Row("ptb", lambda: design(PTB, "N")),
    "suite_v1 PTB, D": Row("ptb", lambda: design(PTB, "D")),
}


def main() -> None:
    """Measure, and print and write the tables; in a process of its own, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="", help="a folder with ptb/, poems/ and sales/; generated data if not given"
    )
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=str([*ROWS]))
    parser.add_argument("--seconds", type=float, default=15.0, help="for each row, without the start")
    parser.add_argument("--out", type=Path, help="a Markdown file; the samples go to a .json beside it")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        name, mode = arguments.worker
        serve(name, mode, arguments.data)
        return
    native.load_library()
    samples = arguments.out.with_suffix(".json") if arguments.out else None
    results: dict[str, JsonObject] = {}
    if samples is not None and samples.exists():
        results = json.loads(samples.read_text("utf-8"))
    cores = len(os.sched_getaffinity(0))
    for name in arguments.rows:
        seconds = measured(name, arguments.data, arguments.seconds)
        results[f"{cores} {name}"] = {mode: values.round(7).tolist() for mode, values in seconds.items()}
        print(line(name, results[f"{cores} {name}"]), flush=True)
        if samples is not None:
            # After every row, so that an interruption loses one.
            samples.write_text(json.dumps(results, indent=0) + "\n", "utf-8")
            arguments.out.write_text(page(results, arguments.data, arguments.seconds), "utf-8")


def measured(name: str, data: str, seconds: float) -> dict[str, Float[np.ndarray, "rounds"]]:
    """Train one model by each contestant in turns, and return the seconds of a step in each round.

    Args:
        name: The row.
        data: The folder of the data.
        seconds: The time after which no further round begins. There are at least 5 rounds.
    """
    contestants = ROWS[name].contestants
    with ExitStack() as stack:
        workers = {mode: stack.enter_context(_started(name, mode, data)) for mode in contestants}
        first = {mode: _step_seconds(worker, 1) for mode, worker in workers.items()}
        first = {mode: _step_seconds(worker, 2) for mode, worker in workers.items()}
        steps = max(1, round(BLOCK_SECONDS / first["fused"]))
        times: dict[str, list[float]] = {mode: [] for mode in workers}
        end = time.perf_counter() + seconds
        while len(times["fused"]) < 5 or time.perf_counter() < end:
            shift = len(times["fused"]) % len(contestants)
            for mode in (*contestants[shift:], *contestants[:shift]):
                times[mode].append(_step_seconds(workers[mode], steps))
    return {mode: np.array(values) for mode, values in times.items()}


def serve(name: str, mode: str, data: str) -> None:
    """Train one model: read numbers of steps, and answer each with the seconds of a step."""
    tune_malloc()
    config = ROWS[name].make()
    config.data.path = str(Path(data) / ROWS[name].folder) if data else ""
    if mode != KERAS:
        config.unroll.mode = mode
    settings = json.loads(config.to_json())
    train = trainers.keras if mode == KERAS else trainers.ours
    run = train(settings, tasks.build(settings))
    for request in sys.stdin:
        steps = int(request)
        start = time.perf_counter()
        run(steps)
        print((time.perf_counter() - start) / steps, flush=True)


def line(name: str, seconds: JsonObject) -> str:
    """Return a row of the table."""
    times = {mode: np.array(values) for mode, values in seconds.items()}
    median = {mode: f"{1e3 * np.median(values):.2f}" for mode, values in times.items()}
    ours = times["native"]
    has_keras = KERAS in times
    cells = [
        name,
        f"{1e3 * ours.min():.2f}, {median['native']}",
        median["fused"],
        median[KERAS] if has_keras else "",
        measure.format_ratio(measure.ratio(ours, times["fused"])),
        measure.format_ratio(measure.ratio(ours, times[KERAS])) if has_keras else "",
        str(len(ours)),
    ]
    return f"| {' | '.join(cells)} |"


def page(results: dict[str, JsonObject], data: str, seconds: float) -> str:
    """Return the page of results: the command, the machine, and a table for each number of cores."""
    machine = ", ".join(f"{name} {value}" for name, value in measure.machine_description().items())
    command = f"python -m benchmarks.training_native --data={Path(data).name} --seconds={seconds:g}"
    kind = "real" if data else "generated"
    lines = [
        f"Written by `{command}`, in several calls with `--rows`.",
        "",
        f"{machine}.",
        f"Every loop trains in a process of its own, on {kind} data. The processes take turns.",
        "",
        "# Whole training steps",
        "",
    ]
    for cores in sorted({int(key.split()[0]) for key in results}, reverse=True):
        lines += [f"**{cores} {'core' if cores == 1 else 'cores'}**", "", *HEADER]
        keys = {f"{cores} {name}": name for name in ROWS}
        lines += [line(name, results[key]) for key, name in keys.items() if key in results]
        lines.append("")
    return "\n".join(lines)


def _started(name: str, mode: str, data: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.training_native", f"--data={data}", "--worker", name, mode]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _step_seconds(worker: "subprocess.Popen[str]", steps: int) -> float:
    """Have a process make some steps, and return the seconds of one.

    Raises:
        RuntimeError: The process has ended.
    """
    requests, answers = _pipes(worker)
    requests.write(f"{steps}\n")
    requests.flush()
    answer = answers.readline()
    if not answer:
        raise RuntimeError(f"{' '.join(map(str, _arguments(worker)))}: the process has ended")
    return float(answer)


def _pipes(worker: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    return worker.stdin, worker.stdout


def _arguments(worker: "subprocess.Popen[str]") -> Sequence[object]:
    return worker.args if isinstance(worker.args, list) else [worker.args]


if __name__ == "__main__":
    main()
