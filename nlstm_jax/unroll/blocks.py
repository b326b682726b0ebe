"""Loops over time in blocks: rematerialization, and truncated backpropagation through time."""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax.types import AnyArray, Array, Carry, PyTree

ScanChunk: TypeAlias = Callable[[Carry, PyTree, int], tuple[Carry, PyTree]]
"""(carry, inputs with the leading axis T, T) → (last carry, outputs with the leading axis T)."""

RunBlock: TypeAlias = Callable[[Carry, PyTree, int, bool | Array], tuple[Carry, PyTree]]
"""A `ScanChunk` of one block, whose last argument is True for the first block of a run."""


def rematerialized(scan_chunk: ScanChunk, size: int, reverse: bool) -> ScanChunk:
    """Return the same loop in blocks, storing for the backward pass only the carries between blocks.

    The backward pass computes the rest again, block by block (Chen et al. 2016, arXiv 1604.06174).

    Args:
        scan_chunk: The loop over any number of steps.
        size: The number of steps in a block.
        reverse: True if the loop runs from the last step to the first.
    """

    def remat_block(carry: Carry, inputs: PyTree, length: int, is_first: bool | Array) -> tuple[Carry, PyTree]:
        del is_first
        return jax.checkpoint(scan_chunk, static_argnums=2)(carry, inputs, length)

    return _in_blocks(remat_block, size, reverse)


def truncated(scan_chunk: ScanChunk, size: int, reverse: bool) -> ScanChunk:
    """Return the same loop in blocks, with the carry passed on between blocks and the gradient stopped there.

    Blocks are counted from where the run begins. The gradient of the carry that the run starts from is that of the
    first block.

    Args:
        scan_chunk: The loop over any number of steps.
        size: The number of steps in a block.
        reverse: True if the loop runs from the last step to the first.
    """

    def truncated_block(carry: Carry, inputs: PyTree, length: int, is_first: bool | Array) -> tuple[Carry, PyTree]:
        carry = jax.tree.map(lambda leaf: jnp.where(is_first, leaf, jax.lax.stop_gradient(leaf)), carry)
        return scan_chunk(carry, inputs, length)

    return _in_blocks(truncated_block, size, reverse)


def block_size(length: int) -> int:
    """Return a block size of about √`length`, preferring a divisor of `length` between √`length` / 2 and 2 √`length`.

    With that size the carries between blocks and the values that one block stores take about the same memory.

    >>> block_size(8192), block_size(100), block_size(97), block_size(1)
    (128, 10, 10, 1)
    """
    root = math.isqrt(max(length - 1, 0)) + 1
    candidates = range(math.ceil(root / 2), 2 * root + 1)
    divisors = [size for size in candidates if length % size == 0]
    return min(divisors, key=lambda size: abs(math.log(size / root)), default=root)


def _in_blocks(run_block: RunBlock, size: int, reverse: bool) -> ScanChunk:
    """Return a loop that scans over all full blocks and then runs the remaining steps.

    Args:
        run_block: The loop over one block.
        size: The number of steps in a block.
        reverse: True if the loop runs from the last step to the first.
    """

    def scan_blocks(carry: Carry, inputs: PyTree, length: int) -> tuple[Carry, PyTree]:
        count, remainder = divmod(length, size)
        if count == 0:
            return run_block(carry, inputs, length, True)

        start = remainder if reverse else 0
        stop = start + count * size

        def split(leaf: AnyArray) -> AnyArray:
            return leaf[start:stop].reshape(count, size, *leaf.shape[1:])

        def scan_block(carry: Carry, slices: tuple[PyTree, Array]) -> tuple[Carry, PyTree]:
            block, is_first = slices
            return run_block(carry, block, size, is_first)

        blocks = jax.tree.map(split, inputs)
        first_index = count - 1 if reverse else 0
        is_first = jnp.arange(count) == first_index
        carry, outputs = jax.lax.scan(scan_block, carry, (blocks, is_first), reverse=reverse)
        outputs = jax.tree.map(lambda leaf: leaf.reshape(count * size, *leaf.shape[2:]), outputs)
        if remainder == 0:
            return carry, outputs

        if reverse:
            rest = jax.tree.map(lambda leaf: leaf[:remainder], inputs)
        else:
            rest = jax.tree.map(lambda leaf: leaf[-remainder:], inputs)
        carry, rest_outputs = run_block(carry, rest, remainder, False)
        in_order = (rest_outputs, outputs) if reverse else (outputs, rest_outputs)
        return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *in_order)

    return scan_blocks
