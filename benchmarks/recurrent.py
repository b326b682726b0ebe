"""How fast a recurrent layer is, beside everyone else's: `python -m benchmarks.recurrent [--out=speed.md]`.

A training step (forward, and the gradients of Σ y² by all parameters and inputs) and a forward pass, of all
implementations in one process, in interleaved rounds; and the memory of a training step (`benchmarks.memory`). Ours is
the better of one CPU device and of the batch split over one device for every core; both are shown. Needs a quiet
machine, and the extras `peers` and `benchmarks` for all peers.
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import implementations, measure
from benchmarks.implementations import KINDS, Shape
from benchmarks.memory import megabytes
from nlstm_jax.process import tune_malloc

SHAPES = (Shape(33, 128, 1, 40), Shape(20, 20, 200, 200), Shape(32, 64, 128, 300), Shape(100, 64, 512, 512))
EQUAL = "PyTorch, 2-layer LSTM"
"""The peer of a Nested LSTM of depth 2 at equal cost; PyTorch has no nested one but a loop in Python."""


def main() -> None:
    """Measure, print, and write the table and its JSON."""
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
        machine_description = measure.machine_description()
        arguments.out.write_text(page(results, machine_description), "utf-8")
        rows = ",\n".join(map(json.dumps, results))
        text = f'{{"surroundings": {json.dumps(machine_description)},\n"results": [\n{rows}\n]}}\n'
        arguments.out.with_suffix(".json").write_text(text, "utf-8")


def measured(kind: str, shape: Shape, training: bool, seconds: float, rounds: int) -> dict[str, Any]:
    """All implementations' seconds, round by round, for one kind of layer at one shape."""
    runs: dict[str, Callable[[], Any]] = {}
    missing, memory = [], {}
    pairs = [(name, name, kind) for name in implementations.ALL]
    if kind == "NLSTM depth 2":
        pairs.append((EQUAL, "PyTorch", "2-layer LSTM"))
    for title, name, its_kind in pairs:
        try:
            run = implementations.ALL[name](its_kind, shape, training)
        except ImportError:
            missing.append(name)
            continue
        if run is not None:
            runs[title] = run
            memory[title] = megabytes(run, its_kind, shape, training) if training else None
    product, operations = implementations.product()
    times = measure.interleaved({**runs, "product": product}, seconds, rounds)
    rate = operations / times.pop("product").min()
    return {
        "kind": kind,
        "shape": shape,
        "what": "training step" if training else "forward pass",
        "floor": shape.operations(kind, training) / rate,
        "rate": rate,
        "missing": missing,
        "memory": memory,
        "seconds": {name: values.round(7).tolist() for name, values in times.items()},
    }


def lines(result: dict[str, Any]) -> list[str]:
    """One kind at one shape, in Markdown."""
    times = {name: np.array(values) for name, values in result["seconds"].items()}
    best = min((name for name in times if name.startswith("ours")), key=lambda name: np.median(times[name]))
    title = f"{result['kind']}, {result['what']}, (T, B, D, H) = {tuple(result['shape'])}"
    table = [
        f"**{title}**; floor {1e3 * result['floor']:.2f} ms at {result['rate'] / 1e9:.0f} GFLOP/s, "
        f"{len(times[best])} rounds" + "".join(f"; {name} is not installed" for name in result["missing"]),
        "",
        "| | minimum, ms | median, ms | median / floor | ours / this, median [95 %] | memory, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, values in times.items():
        middle, memory = float(np.median(values)), result["memory"][name]
        against = "{:.2f} [{:.2f}, {:.2f}]".format(*measure.ratio(times[best], values))
        bold = "**" if name == best else ""
        table.append(
            f"| {bold}{name}{bold} | {1e3 * values.min():.2f} | {1e3 * middle:.2f} | {middle / result['floor']:.1f} | "
            f"{'' if name.startswith('ours') else against} | {'' if memory is None else f'{memory:.0f}'} |"
        )
    return [*table, ""]


def page(results: list[dict[str, Any]], machine_description: dict[str, str]) -> str:
    """The whole page."""
    head = ["# Speed", "", *measure.heading("benchmarks.recurrent", machine_description)]
    return "\n".join([*head, *(line for result in results for line in lines(result))])


if __name__ == "__main__":
    main()
