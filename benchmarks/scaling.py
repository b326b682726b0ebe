"""How a training step of an LSTM grows with time and batch, and what `remat` saves: `python -m benchmarks.scaling`.

Time for each of T · B elements should stay what it is; `remat` should need a fraction of the memory.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from benchmarks.implementations import Shape
from nlstm_jax import LSTM, unroll
from nlstm_jax.process import tune_malloc

LENGTHS = [(steps, 16) for steps in (32, 128, 512, 2048, 8192)]
BATCHES = [(32, batch) for batch in (16, 64, 256, 1024)]
LONG = Shape(8192, 32, 256, 256)


def main() -> None:
    """Measure, print, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each table")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    tune_malloc()
    table: list[str] = []
    for name, sizes in (("time", LENGTHS), ("batch", BATCHES)):
        table += growth(name, sizes, arguments.units, arguments.seconds)
    table += blocks(arguments.seconds)
    measure.finish("benchmarks.scaling", table, arguments.out)


def growth(name: str, sizes: list[tuple[int, int]], units: int, seconds: float) -> list[str]:
    """Nanoseconds an element, by the steps or by the batch."""
    shapes = [Shape(steps, batch, units, units) for steps, batch in sizes]
    runs = {str(tuple(shape)): _run(shape)[0] for shape in shapes}
    taken = measure.interleaved(runs, seconds, 300)
    per_element = {str(tuple(shape)): taken[str(tuple(shape))] / (shape.steps * shape.batch) for shape in shapes}
    first = next(iter(per_element.values()))
    table = [
        f"**Growth with {name}**, training step of an LSTM, {len(first)} rounds",
        "",
        "| (T, B, D, H) | median, ms | median, ns an element | this / first, median [95 %] |",
        "|---|---:|---:|---:|",
    ]
    for title, values in per_element.items():
        against = "{:.2f} [{:.2f}, {:.2f}]".format(*measure.ratio(values, first))
        table.append(f"| {title} | {1e3 * np.median(taken[title]):.2f} | {1e9 * np.median(values):.0f} | {against} |")
    return [*table, ""]


def blocks(seconds: float) -> list[str]:
    """Memory and time of a long gradient, with `remat` and without."""
    made = {name: _run(LONG, remat=remat) for name, remat in (("all stored", None), ("remat", True))}
    taken = measure.interleaved({name: run for name, (run, _) in made.items()}, seconds, 20)
    table = [
        f"**Blocks of √T**, training step of an LSTM, (T, B, D, H) = {tuple(LONG)}, {len(taken['remat'])} rounds",
        "",
        "| | median, s | this / all stored [95 %] | memory, MB | of it arguments and results |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (_, program) in made.items():
        against = "{:.2f} [{:.2f}, {:.2f}]".format(*measure.ratio(taken[name], taken["all stored"]))
        memory = program.memory_analysis()
        outside = (memory.argument_size_in_bytes + memory.output_size_in_bytes) / 1e6
        table.append(
            f"| {name} | {np.median(taken[name]):.2f} | {against} | {measure.compiled_megabytes(program):.0f} | "
            f"{outside:.0f} |"
        )
    return [*table, ""]


def _run(shape: Shape, **options: Any) -> tuple[Callable[[], Any], Any]:
    """A training step, and its program."""
    cell = LSTM(shape.units)
    params = cell.init(jax.random.key(0), shape.inputs)
    xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
    gradient = jax.grad(lambda params, xs: (unroll(cell, params, xs, **options)[1] ** 2).sum(), (0, 1))
    program = jax.jit(gradient).lower(params, xs).compile()
    return partial(_done, program, params, xs), program


def _done(program: Any, *given: Any) -> None:
    jax.block_until_ready(program(*given))


if __name__ == "__main__":
    main()
