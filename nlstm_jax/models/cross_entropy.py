"""Softmax and cross-entropy together, a few targets at a time: never all [T, B, V] logits at once."""

from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import product
from nlstm_jax.types import Array, Float, Int

TARGETS = 256
LOGITS = 1 << 20
"""A chunk has so many targets, or so many logits if those are more; as measured by `benchmarks.cross_entropy`."""


def cross_entropy(
    ys: Float[Array, "T B H"],
    w: Float[Array, "H V"],
    b: Float[Array, "V"],
    targets: Int[Array, "T B"],
    weights: Float[Array, "T B"],
    dtype: Any = None,
) -> tuple[Float[Array, ""], Float[Array, "T B"]]:
    """Σ weight · nats, where nats = log Σ_v exp(logit_v) − logit_target and logits = y W + b.

    Chunks are of time, so that a batch stays split over devices. A chunk's gradients are made together with its
    logits, which are then let go: all products are computed once, as they are without chunks.

    Args:
        ys: what enters the softmax.
        w, b: the softmax' weights.
        targets: the symbols that come.
        weights: of the targets; 0 leaves one out, whatever symbol or number it is.
        dtype: of the products, e.g. `jnp.bfloat16`; sums and all else stay as they are.

    Returns:
        The sum, and the nats of every target; the gradient is the sum's alone.
    """

    @jax.custom_vjp
    def summed(ys: Array, w: Array, b: Array, weights: Array, targets: Array) -> tuple[Array, Array]:
        def chunk(carry: None, part: tuple[Array, Array]) -> tuple[None, Array]:
            return carry, _nats(_logits(part[0], w, b, dtype), part[1])[0]

        nats = _over_chunks(chunk, None, (ys, targets), w.shape[1])[1]
        return (weights * nats).sum(), nats

    def forward(ys: Array, w: Array, b: Array, weights: Array, targets: Array) -> Any:
        def chunk(sums: tuple[Array, Array], part: tuple[Array, ...]) -> Any:
            y, target, weight = part
            nats, shares = _nats(_logits(y, w, b, dtype), target)
            z_bar = weight[:, None] * shares
            z_bar = z_bar.at[jnp.arange(len(target)), target].add(-weight)
            w_bar = product(y.T, z_bar, dtype)
            return (sums[0] + w_bar, sums[1] + z_bar.sum(0)), (nats, product(z_bar, w.T, dtype))

        zeros = (jnp.zeros_like(w), jnp.zeros_like(b))
        (w_bar, b_bar), (nats, ys_bar) = _over_chunks(chunk, zeros, (ys, targets, weights), w.shape[1])
        return ((weights * nats).sum(), nats), (ys_bar, w_bar, b_bar, nats)

    def backward(bars: tuple[Array, ...], cotangents: tuple[Array, Array]) -> tuple[Array | None, ...]:
        return *(cotangents[0] * bar for bar in bars), None

    summed.defvjp(forward, backward)
    # A target that is left out may be no symbol, as padding is; its NaN would reach the sum as 0 · NaN.
    symbols = jnp.where(weights == 0, jnp.clip(targets, 0, w.shape[1] - 1), targets)
    total, nats = summed(ys, w, b, weights, symbols)
    return total, jax.lax.stop_gradient(nats)


def _logits(y: Float[Array, "n H"], w: Array, b: Array, dtype: Any) -> Float[Array, "n V"]:
    return product(y, w, dtype) + b


def _nats(logits: Float[Array, "n V"], targets: Int[Array, "n"]) -> tuple[Float[Array, "n"], Float[Array, "n V"]]:
    """The nats of every target, and the softmax' shares of all symbols."""
    highest = logits.max(-1, keepdims=True)
    exponentials = jnp.exp(logits - highest)
    sums = exponentials.sum(-1, keepdims=True)
    own = jnp.take_along_axis(logits, targets[:, None], axis=-1)
    return (jnp.log(sums) + highest - own)[:, 0], exponentials / sums


def _over_chunks(chunk: Any, carry: Any, arrays: tuple[Array, ...], symbols: int) -> Any:
    """A scan over chunks of the arrays [T, B, ...], each flat over time and batch; outputs are [T, B, ...] again."""
    length, batch = arrays[0].shape[:2]
    steps = _chunk_steps(length, batch, symbols)
    count = -(-length // steps)

    def parted(array: Array) -> Array:
        padding = [(0, count * steps - length), *[(0, 0)] * (array.ndim - 1)]
        return jnp.pad(array, padding).reshape(count, steps * batch, *array.shape[2:])

    carry, outputs = jax.lax.scan(chunk, carry, tuple(map(parted, arrays)))
    whole = jax.tree.map(lambda leaf: leaf.reshape(count * steps, batch, *leaf.shape[2:])[:length], outputs)
    return carry, whole


def _chunk_steps(length: int, batch: int, symbols: int) -> int:
    """Time steps in a chunk: about as many targets as are wanted, with as little padding as can be.

    >>> _chunk_steps(length=33, batch=64, symbols=5000), _chunk_steps(33, 64, 100), _chunk_steps(5, 1024, 50_000)
    (3, 33, 1)
    """
    most = min(max(TARGETS, LOGITS // symbols) // batch or 1, length)
    return min(range((most + 1) // 2, most + 1), key=lambda steps: (-(-length // steps) * steps, -steps))
