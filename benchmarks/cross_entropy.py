"""Cross-entropy by chunks and over all logits at once: `python -m benchmarks.cross_entropy [--out=table.md]`.

The time of the loss with its gradients; the memory that the compiled program has for it, arguments and results
included; and the gradients' largest distance from the same in float64, as a part of their largest value.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from benchmarks import measure
from nlstm_jax.models.cross_entropy import cross_entropy
from nlstm_jax.process import tune_malloc
from nlstm_jax.types import Array

STEPS, BATCH = 32, 64


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--symbols", nargs="+", type=int, default=[500, 5000, 50_000])
    parser.add_argument("--features", type=int, default=256, help="of what enters the softmax")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each vocabulary")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    tune_malloc()
    table = [
        f"**Cross-entropy with its gradients**, {STEPS * BATCH:,} targets, H = {arguments.features}",
        "",
        "| symbols | | median, ms | chunks / all at once [95 %] | memory, MB | error of a gradient |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for symbols in arguments.symbols:
        table += rows(symbols, arguments.features, arguments.seconds)
    measure.finish("benchmarks.cross_entropy", table, arguments.out)


def rows(symbols: int, features: int, seconds: float) -> list[str]:
    """One vocabulary's two rows."""
    keys = jax.random.split(jax.random.key(0), 4)
    ys = jax.random.normal(keys[0], (STEPS, BATCH, features))
    w = jax.random.normal(keys[1], (features, symbols)) / features**0.5
    targets = jax.random.randint(keys[2], (STEPS, BATCH), 0, symbols)
    weights = jax.random.uniform(keys[3], (STEPS, BATCH))
    given = ys, w, jax.numpy.zeros(symbols), targets, weights
    programs = {name: compiled(loss, given) for name, loss in (("all at once", _plain), ("chunks", cross_entropy))}
    errors = {name: _error(program(*given)[1], given) for name, program in programs.items()}
    runs = {name: partial(_done, program, given) for name, program in programs.items()}
    times = measure.interleaved(runs, seconds, 200)
    against = "{:.2f} [{:.2f}, {:.2f}]".format(*measure.ratio(times["chunks"], times["all at once"]))
    return [
        f"| {symbols:,} | {name} | {1e3 * np.median(times[name]):.1f} | {against if name == 'chunks' else ''} | "
        f"{measure.compiled_megabytes(program):.0f} | {errors[name]:.1e} |"
        for name, program in programs.items()
    ]


def compiled(loss: Any, given: tuple[Array, ...]) -> Any:
    """The loss and its gradients, compiled."""
    return jax.jit(jax.value_and_grad(lambda *arguments: loss(*arguments)[0], (0, 1, 2))).lower(*given).compile()


def _error(bars: tuple[Array, ...], given: tuple[Array, ...]) -> float:
    with jax.enable_x64(True):
        precise = [leaf if leaf.dtype == jax.numpy.int32 else leaf.astype(jax.numpy.float64) for leaf in given]
        exact = compiled(cross_entropy, tuple(precise))(*precise)[1]
    errors = [abs(np.asarray(bar) - np.asarray(true)).max() for bar, true in zip(bars, exact, strict=True)]
    return max(error / abs(np.asarray(true)).max() for error, true in zip(errors, exact, strict=True))


def _plain(ys: Array, w: Array, b: Array, targets: Array, weights: Array) -> tuple[Array]:
    return ((weights * optax.softmax_cross_entropy_with_integer_labels(ys @ w + b, targets)).sum(),)


def _done(program: Any, given: tuple[Array, ...]) -> None:
    jax.block_until_ready(program(*given))


if __name__ == "__main__":
    main()
