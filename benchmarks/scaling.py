"""Growth of an LSTM's training step with time and batch, and savings of `remat`: `python -m benchmarks.scaling`.

The time for each of the T · B elements should stay constant. `remat` should need a fraction of the memory.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks import measure
from benchmarks.implementations import Shape
from nlstm_jax import LSTM, unroll
from nlstm_jax.process import tune_malloc
from nlstm_jax.types import Array, Params

LENGTHS = [(steps, 16) for steps in (32, 128, 512, 2048, 8192)]
"""Pairs of steps and batch size for the growth with time."""

BATCHES = [(32, batch) for batch in (16, 64, 256, 1024)]
"""Pairs of steps and batch size for the growth with the batch."""

LONG = Shape(8192, 32, 256, 256)
"""The shape for `remat`."""


def main() -> None:
    """Measure, and print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each table")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    tune_malloc()
    table = growth("time", LENGTHS, arguments.units, arguments.seconds)
    table += growth("batch", BATCHES, arguments.units, arguments.seconds)
    table += blocks(arguments.seconds)
    measure.finish("benchmarks.scaling", table, arguments.out)


def growth(name: str, sizes: list[tuple[int, int]], units: int, seconds: float) -> list[str]:
    """Return a table of the time per element for several lengths or batch sizes.

    Args:
        name: The name of what grows.
        sizes: Pairs of steps and batch size.
        units: The number of input features and of hidden units.
        seconds: The time to measure for.
    """
    shapes = [Shape(steps, batch, units, units) for steps, batch in sizes]
    runs = {}
    for shape in shapes:
        run, _ = _training_step(shape)
        runs[str(tuple(shape))] = run
    times = measure.interleaved(runs, seconds, 300)
    per_element = {}
    for shape in shapes:
        title = str(tuple(shape))
        per_element[title] = times[title] / (shape.steps * shape.batch)

    first = next(iter(per_element.values()))
    table = [
        f"**Growth with {name}**, training step of an LSTM, {len(first)} rounds",
        "",
        "| (T, B, D, H) | median, ms | median, ns an element | this / first, median [95 %] |",
        "|---|---:|---:|---:|",
    ]
    for title, values in per_element.items():
        ratio = measure.format_ratio(measure.ratio(values, first))
        table.append(f"| {title} | {1e3 * np.median(times[title]):.2f} | {1e9 * np.median(values):.0f} | {ratio} |")
    return [*table, ""]


def blocks(seconds: float) -> list[str]:
    """Return a table of the memory and the time of a long gradient, with `remat` and without it."""
    steps = {"all stored": _training_step(LONG), "remat": _training_step(LONG, remat=True)}
    times = measure.interleaved({name: run for name, (run, _) in steps.items()}, seconds, 20)
    table = [
        f"**Blocks of √T**, training step of an LSTM, (T, B, D, H) = {tuple(LONG)}, {len(times['remat'])} rounds",
        "",
        "| | median, s | this / all stored [95 %] | memory, MB | of it arguments and results |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (_, program) in steps.items():
        ratio = measure.format_ratio(measure.ratio(times[name], times["all stored"]))
        memory = program.memory_analysis()
        assert memory is not None
        outside = (memory.argument_size_in_bytes + memory.output_size_in_bytes) / 1e6
        table.append(
            f"| {name} | {np.median(times[name]):.2f} | {ratio} | {measure.compiled_megabytes(program):.0f} | "
            f"{outside:.0f} |"
        )
    return [*table, ""]


def _training_step(shape: Shape, remat: bool | None = None) -> tuple[Callable[[], None], jax.stages.Compiled]:
    """Return a training step of an LSTM as a function without arguments, and its compiled program."""
    cell = LSTM(shape.units)
    params = cell.init(jax.random.key(0), shape.inputs)
    xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))

    def loss(params: Params, xs: Array) -> Array:
        return (unroll(cell, params, xs, remat=remat)[1] ** 2).sum()

    program = jax.jit(jax.grad(loss, (0, 1))).lower(params, xs).compile()
    return partial(_run_to_end, program, params, xs), program


def _run_to_end(program: jax.stages.Compiled, params: Params, xs: Array) -> None:
    """Run a compiled program and wait for its result."""
    jax.block_until_ready(program(params, xs))


if __name__ == "__main__":
    main()
