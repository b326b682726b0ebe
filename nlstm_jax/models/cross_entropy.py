"""Softmax and cross-entropy, computed in chunks of targets, so that the logits [T, B, V] are never all in memory."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nlstm_jax.cells.base import product
from nlstm_jax.types import Array, Float, Int

TARGETS = 256
LOGITS = 1 << 20
"""A chunk has about `TARGETS` targets or `LOGITS` logits, whichever gives the larger chunk.

The two numbers were measured with `benchmarks.cross_entropy`.
"""

CarryT = TypeVar("CarryT")
Outputs = TypeVar("Outputs")


def cross_entropy(
    ys: Float[Array, "T B H"],
    w: Float[Array, "H V"],
    b: Float[Array, "V"],
    targets: Int[Array, "T B"],
    weights: Float[Array, "T B"],
    dtype: DTypeLike | None = None,
) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
    """Compute Σ weight · nats, where nats = log Σ_v exp(logit_v) − logit_target and logits = y W + b.

    Time is split into chunks and the batch is not, so a batch can remain sharded over devices. The gradients of a
    chunk are computed together with its logits, which are then discarded. Every product is therefore computed once,
    as it is without chunks.

    Args:
        ys: The inputs of the softmax.
        w: The weights of the softmax.
        b: The bias of the softmax.
        targets: The target symbols.
        weights: The weights of the targets. A weight of 0 excludes a target, which then need not be a valid symbol.
        dtype: The dtype of the factors of the products, such as `jnp.bfloat16`. The dtypes of the sums and of all
            other arrays do not change.

    Returns:
        The sum, and the nats of every target. Only the sum has a gradient.
    """

    @jax.custom_vjp
    def weighted_sum(ys: Array, w: Array, b: Array, weights: Array, targets: Array) -> tuple[Array, Array]:
        def chunk_nats(carry: None, chunk: tuple[Array, Array]) -> tuple[None, Array]:
            y, target = chunk
            nats, _ = _nats_and_probabilities(_logits(y, w, b, dtype), target)
            return carry, nats

        _, nats = _scan_chunks(chunk_nats, None, (ys, targets), w.shape[1])
        return (weights * nats).sum(), nats

    def forward(
        ys: Array, w: Array, b: Array, weights: Array, targets: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        def chunk_gradients(
            sums: tuple[Array, Array], chunk: tuple[Array, Array, Array]
        ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            w_bar_sum, b_bar_sum = sums
            y, target, weight = chunk
            nats, probabilities = _nats_and_probabilities(_logits(y, w, b, dtype), target)
            z_bar = weight[:, None] * probabilities
            z_bar = z_bar.at[jnp.arange(len(target)), target].add(-weight)
            w_bar = product(y.T, z_bar, dtype)
            return (w_bar_sum + w_bar, b_bar_sum + z_bar.sum(0)), (nats, product(z_bar, w.T, dtype))

        zeros = (jnp.zeros_like(w), jnp.zeros_like(b))
        (w_bar, b_bar), (nats, ys_bar) = _scan_chunks(chunk_gradients, zeros, (ys, targets, weights), w.shape[1])
        return ((weights * nats).sum(), nats), (ys_bar, w_bar, b_bar, nats)

    def backward(gradients: tuple[Array, ...], cotangents: tuple[Array, Array]) -> tuple[Array | None, ...]:
        sum_bar, _ = cotangents
        return *(sum_bar * gradient for gradient in gradients), None

    weighted_sum.defvjp(forward, backward)

    # An excluded target may be padding, which is not a valid symbol. Its NaN would reach the sum as 0 · NaN.
    symbols = jnp.where(weights == 0, jnp.clip(targets, 0, w.shape[1] - 1), targets)
    total, nats = weighted_sum(ys, w, b, weights, symbols)
    return total, jax.lax.stop_gradient(nats)


def _logits(y: Float[Array, "n H"], w: Array, b: Array, dtype: DTypeLike | None) -> Float[Array, "n V"]:
    """Return the logits y W + b."""
    return product(y, w, dtype) + b


def _nats_and_probabilities(
    logits: Float[Array, "n V"], targets: Int[Array, "n"]
) -> tuple[Float[Array, "n"], Float[Array, "n V"]]:
    """Return the nats of every target, and the softmax probabilities of all symbols."""
    highest = logits.max(-1, keepdims=True)
    exponentials = jnp.exp(logits - highest)
    sums = exponentials.sum(-1, keepdims=True)
    target_logits = jnp.take_along_axis(logits, targets[:, None], axis=-1)
    nats = (jnp.log(sums) + highest - target_logits)[:, 0]
    return nats, exponentials / sums


def _scan_chunks(
    body: Callable[..., tuple[CarryT, Outputs]], carry: CarryT, arrays: tuple[Array, ...], symbols: int
) -> tuple[CarryT, Outputs]:
    """Scan over chunks of time.

    Args:
        body: The function of a carry and a chunk of each array, with time and batch as one axis.
        carry: The initial carry.
        arrays: The arrays [T, B, ...] to split into chunks.
        symbols: The number of symbols V, which determines the size of a chunk.

    Returns:
        The last carry, and the outputs of `body` as arrays [T, B, ...].
    """
    length, batch = arrays[0].shape[:2]
    steps = _chunk_steps(length, batch, symbols)
    count = -(-length // steps)

    def split_chunks(array: Array) -> Array:
        padding = [(0, count * steps - length), *[(0, 0)] * (array.ndim - 1)]
        return jnp.pad(array, padding).reshape(count, steps * batch, *array.shape[2:])

    def merge_chunks(output: Array) -> Array:
        return output.reshape(count * steps, batch, *output.shape[2:])[:length]

    carry, outputs = jax.lax.scan(body, carry, tuple(map(split_chunks, arrays)))
    return carry, jax.tree.map(merge_chunks, outputs)


def _chunk_steps(length: int, batch: int, symbols: int) -> int:
    """Return the number of time steps in a chunk.

    The number is between half and all of the steps that `TARGETS` and `LOGITS` allow. Within these bounds it minimizes
    the padding, and then the number of chunks.

    >>> _chunk_steps(length=33, batch=64, symbols=5000), _chunk_steps(33, 64, 100), _chunk_steps(5, 1024, 50_000)
    (3, 33, 1)
    """
    most = min(max(TARGETS, LOGITS // symbols) // batch or 1, length)

    def padded_length_then_chunks(steps: int) -> tuple[int, int]:
        return -(-length // steps) * steps, -steps

    return min(range((most + 1) // 2, most + 1), key=padded_length_then_chunks)
