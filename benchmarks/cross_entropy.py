"""Cross-entropy by chunks and over all logits at once: `python -m benchmarks.cross_entropy [--out=table.md]`.

The table has the time of the loss with its gradients, the memory of the compiled program including arguments and
results, and the largest error of the gradients. The error is the distance from the gradients in float64, as a fraction
of their largest value.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from benchmarks import measure
from nlstm_jax.models.cross_entropy import cross_entropy
from nlstm_jax.process import tune_malloc
from nlstm_jax.types import Array, Float, Int

STEPS = 32
BATCH = 64


class LossArguments(NamedTuple):
    """The arguments of a cross-entropy.

    Attributes:
        ys: The outputs of the recurrent layer.
        w: The kernel of the softmax.
        b: The bias of the softmax.
        targets: The symbol to predict at each position.
        weights: The weight of each target.
    """

    ys: Float[Array, "T B H"]
    w: Float[Array, "H V"]
    b: Float[Array, "V"]
    targets: Int[Array, "T B"]
    weights: Float[Array, "T B"]


def main() -> None:
    """Measure the losses, and print and write the table."""
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
    """Return the two table rows of one vocabulary size."""
    keys = jax.random.split(jax.random.key(0), 4)
    arguments = LossArguments(
        ys=jax.random.normal(keys[0], (STEPS, BATCH, features)),
        w=jax.random.normal(keys[1], (features, symbols)) / features**0.5,
        b=jax.numpy.zeros(symbols),
        targets=jax.random.randint(keys[2], (STEPS, BATCH), 0, symbols),
        weights=jax.random.uniform(keys[3], (STEPS, BATCH)),
    )
    programs = {
        "all at once": compile_gradient(_plain_cross_entropy, arguments),
        "chunks": compile_gradient(cross_entropy, arguments),
    }
    errors = {name: _gradient_error(program(*arguments)[1], arguments) for name, program in programs.items()}
    runs = {name: partial(_run_to_end, program, arguments) for name, program in programs.items()}
    times = measure.interleaved(runs, seconds, 200)

    ratio = measure.format_ratio(measure.ratio(times["chunks"], times["all at once"]))
    lines = []
    for name, program in programs.items():
        milliseconds = 1e3 * np.median(times[name])
        shown_ratio = ratio if name == "chunks" else ""
        megabytes = measure.compiled_megabytes(program)
        lines.append(
            f"| {symbols:,} | {name} | {milliseconds:.1f} | {shown_ratio} | {megabytes:.0f} | {errors[name]:.1e} |"
        )
    return lines


def compile_gradient(loss: Callable[..., tuple[Array, ...]], arguments: LossArguments) -> jax.stages.Compiled:
    """Compile a loss together with its gradients by outputs, kernel and bias."""

    def first_result(*arguments: Array) -> Array:
        return loss(*arguments)[0]

    return jax.jit(jax.value_and_grad(first_result, (0, 1, 2))).lower(*arguments).compile()


def _gradient_error(gradients: Sequence[Array], arguments: LossArguments) -> float:
    """Return the largest error of gradients against float64, as a fraction of the largest value of each gradient."""
    with jax.enable_x64(True):
        precise = LossArguments(*map(_to_float64, arguments))
        exact_gradients = compile_gradient(cross_entropy, precise)(*precise)[1]
    errors = []
    for gradient, exact in zip(gradients, exact_gradients, strict=True):
        difference = abs(np.asarray(gradient) - np.asarray(exact)).max()
        errors.append(difference / abs(np.asarray(exact)).max())
    return float(max(errors))


def _to_float64(leaf: Array) -> Array:
    """Return an array in float64, or unchanged if it holds integers."""
    if leaf.dtype == jax.numpy.int32:
        return leaf
    return leaf.astype(jax.numpy.float64)


def _plain_cross_entropy(ys: Array, w: Array, b: Array, targets: Array, weights: Array) -> tuple[Array]:
    """Return the weighted sum of cross-entropies, computed from all logits at once."""
    return ((weights * optax.softmax_cross_entropy_with_integer_labels(ys @ w + b, targets)).sum(),)


def _run_to_end(program: jax.stages.Compiled, arguments: LossArguments) -> None:
    """Run a compiled program and wait for its result."""
    jax.block_until_ready(program(*arguments))


if __name__ == "__main__":
    main()
