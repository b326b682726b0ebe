"""A loop over time in blocks: computed anew on the way back, or with the gradient stopped between them."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax.types import Carry

Run: TypeAlias = Callable[[Carry, Any, int], tuple[Carry, Any]]
"""(carry, inputs with the leading axis T, T) → (last carry, outputs with the leading axis T)."""


def rematerialised(run: Run, size: int, reverse: bool) -> Run:
    """The same run, of which only the carries between blocks of `size` steps are stored for the way back.

    What a block's gradient needs is computed anew, block by block (Chen et al. 2016, arXiv 1604.06174).
    """

    def again(carry: Carry, inputs: Any, length: int, first: Any) -> tuple[Carry, Any]:
        del first
        return jax.checkpoint(run, static_argnums=2)(carry, inputs, length)

    return _in_blocks(again, size, reverse)


def truncated(run: Run, size: int, reverse: bool) -> Run:
    """The same run, with the carry passed on between blocks of `size` steps and the gradient stopped there.

    Blocks are counted from where the run begins; the gradient of the carry that it starts from is the first block's.
    """

    def apart(carry: Carry, inputs: Any, length: int, first: Any) -> tuple[Carry, Any]:
        carry = jax.tree.map(lambda leaf: jnp.where(first, leaf, jax.lax.stop_gradient(leaf)), carry)
        return run(carry, inputs, length)

    return _in_blocks(apart, size, reverse)


def block_size(length: int) -> int:
    """About √`length`, so that the carries between blocks and what one block stores are alike; if near, a divisor.

    >>> block_size(8192), block_size(100), block_size(97), block_size(1)
    (128, 10, 10, 1)
    """
    root = math.isqrt(max(length - 1, 0)) + 1
    near = [size for size in range(math.ceil(root / 2), 2 * root + 1) if length % size == 0]
    return min(near, key=lambda size: abs(math.log(size / root)), default=root)


def _in_blocks(run: Callable[[Carry, Any, int, Any], tuple[Carry, Any]], size: int, reverse: bool) -> Run:
    """Whole blocks in a scan, then what is left of time; `run` is told whether a block is the first."""

    def over_time(carry: Carry, inputs: Any, length: int) -> tuple[Carry, Any]:
        count, left = divmod(length, size)
        if count == 0:
            return run(carry, inputs, length, True)
        start = left if reverse else 0
        blocks = jax.tree.map(
            lambda leaf: leaf[start : start + count * size].reshape(count, size, *leaf.shape[1:]), inputs
        )
        firsts = jnp.arange(count) == (count - 1 if reverse else 0)

        def block(carry: Carry, slices: Any) -> tuple[Carry, Any]:
            return run(carry, slices[0], size, slices[1])

        carry, outputs = jax.lax.scan(block, carry, (blocks, firsts), reverse=reverse)
        outputs = jax.tree.map(lambda leaf: leaf.reshape(count * size, *leaf.shape[2:]), outputs)
        if left == 0:
            return carry, outputs
        rest = jax.tree.map(lambda leaf: leaf[:left] if reverse else leaf[-left:], inputs)
        carry, last = run(carry, rest, left, False)
        order = (last, outputs) if reverse else (outputs, last)
        return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *order)

    return over_time
