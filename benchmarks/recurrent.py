"""Speed of recurrent layers beside other frameworks: `python -m benchmarks.recurrent [--out=speed.md]`.

Measures a training step (forward pass, and the gradients of Σ y² by all parameters and inputs) and a forward pass. All
implementations run in one process, in interleaved rounds. Also measures the memory of a training step
(`benchmarks.memory`). Our time is the better of two, both of which are shown: one CPU device, and the batch split over
one device per core. Needs a quiet machine, and the extras `peers` and `benchmarks` for all peers.
"""

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import implementations, measure
from benchmarks.implementations import KINDS, Run, Shape
from benchmarks.memory import megabytes
from nlstm_jax.process import tune_malloc

SHAPES = (Shape(33, 128, 1, 40), Shape(20, 20, 200, 200), Shape(32, 64, 128, 300), Shape(100, 64, 512, 512))

EQUAL = "PyTorch, 2-layer LSTM"
"""The peer of a Nested LSTM of depth 2 at equal cost, because PyTorch's Nested LSTM is only a Python loop."""


class Result(NamedTuple):
    """The measurements of one kind of layer at one shape.

    Attributes:
        kind: The kind of layer, a key of `KINDS`.
        shape: The shape of the layer and its inputs.
        what: "training step" or "forward pass".
        floor: The seconds that the matrix products would take at the peak rate of the machine.
        rate: The peak rate of the machine, in floating-point operations a second.
        missing: The implementations that are not installed.
        memory: The memory in MB by implementation. None if it is unknown.
        seconds: The seconds of each round by implementation.
    """

    kind: str
    shape: Shape
    what: str
    floor: float
    rate: float
    missing: list[str]
    memory: dict[str, float | None]
    seconds: dict[str, list[float]]


def main() -> None:
    """Measure, and print and write the table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--shapes", nargs="+", type=int, choices=range(len(SHAPES)), default=range(len(SHAPES)))
    parser.add_argument("--what", nargs="+", choices=["training", "inference"], default=["training", "inference"])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each table row's implementations together")
    parser.add_argument("--rounds", type=int, default=200, help="at most")
    parser.add_argument("--out", type=Path, help="a Markdown file; the samples go to a .json beside it")
    arguments = parser.parse_args()
    tune_malloc()
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    results = []
    for what in arguments.what:
        for index in arguments.shapes:
            for kind in arguments.kinds:
                result = measured(kind, SHAPES[index], what == "training", arguments.seconds, arguments.rounds)
                results.append(result)
                print("\n".join(lines(result)), flush=True)
    if arguments.out is not None:
        machine = measure.machine_description()
        arguments.out.write_text(page(results, machine), "utf-8")
        rows = ",\n".join(json.dumps(result._asdict()) for result in results)
        text = f'{{"surroundings": {json.dumps(machine)},\n"results": [\n{rows}\n]}}\n'
        arguments.out.with_suffix(".json").write_text(text, "utf-8")


def measured(kind: str, shape: Shape, training: bool, seconds: float, rounds: int) -> Result:
    """Measure all implementations of one kind of layer at one shape.

    Args:
        kind: The kind of layer, a key of `KINDS`.
        shape: The shape of the layer and its inputs.
        training: True for a training step, False for a forward pass.
        seconds: The time to measure for.
        rounds: The maximum number of rounds.
    """
    entries = [(name, name, kind) for name in implementations.ALL]
    if kind == "NLSTM depth 2":
        entries.append((EQUAL, "PyTorch", "2-layer LSTM"))

    runs: dict[str, Run] = {}
    missing: list[str] = []
    memory: dict[str, float | None] = {}
    for title, name, peer_kind in entries:
        try:
            run = implementations.ALL[name](peer_kind, shape, training)
        except ImportError:
            missing.append(name)
            continue
        if run is not None:
            runs[title] = run
            memory[title] = megabytes(run, peer_kind, shape, training) if training else None

    product, operations = implementations.product()
    times = measure.interleaved({**runs, "product": product}, seconds, rounds)
    rate = float(operations / times.pop("product").min())
    return Result(
        kind=kind,
        shape=shape,
        what="training step" if training else "forward pass",
        floor=shape.operations(kind, training) / rate,
        rate=rate,
        missing=missing,
        memory=memory,
        seconds={name: values.round(7).tolist() for name, values in times.items()},
    )


def lines(result: Result) -> list[str]:
    """Return the Markdown table of one kind of layer at one shape."""
    times = {name: np.array(values) for name, values in result.seconds.items()}
    best = min((name for name in times if name.startswith("ours")), key=lambda name: np.median(times[name]))
    title = f"{result.kind}, {result.what}, (T, B, D, H) = {tuple(result.shape)}"
    missing = "".join(f"; {name} is not installed" for name in result.missing)
    table = [
        f"**{title}**; floor {1e3 * result.floor:.2f} ms at {result.rate / 1e9:.0f} GFLOP/s, "
        f"{len(times[best])} rounds{missing}",
        "",
        "| | minimum, ms | median, ms | median / floor | ours / this, median [95 %] | memory, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, values in times.items():
        median = float(np.median(values))
        memory = result.memory[name]
        cells = [
            f"**{name}**" if name == best else name,
            f"{1e3 * values.min():.2f}",
            f"{1e3 * median:.2f}",
            f"{median / result.floor:.1f}",
            "" if name.startswith("ours") else measure.format_ratio(measure.ratio(times[best], values)),
            "" if memory is None else f"{memory:.0f}",
        ]
        table.append(f"| {' | '.join(cells)} |")
    return [*table, ""]


def page(results: list[Result], machine: dict[str, str]) -> str:
    """Return the whole page of results in Markdown."""
    page_lines = ["# Speed", "", *measure.heading("benchmarks.recurrent", machine)]
    for result in results:
        page_lines += lines(result)
    return "\n".join(page_lines)


if __name__ == "__main__":
    main()
