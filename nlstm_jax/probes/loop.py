"""A loop over time that records the memories of a cell, adds to them, and replaces what a step reads of them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax.cells import Cell
from nlstm_jax.cells.base import leaves_with_names
from nlstm_jax.types import AnyArray, Array, Bool, Carry, Float, Params
from nlstm_jax.unroll.dispatch import masked_step
from nlstm_jax.unroll.options import StepMasks
from nlstm_jax.unroll.scan import StepConstants, StepInputs, select

Memories: TypeAlias = Mapping[str, AnyArray]
"""The memories of a cell by their names in its carry, such as `inner.c`: arrays with the leading axes [T, B]."""


class Intervention(NamedTuple):
    """The changes that a run makes to the memories.

    Attributes:
        replaced: What each step reads of a memory that is held.
        held: True for a memory that is held, bool []. True is the default.
        added: What is added to the memories after each step. Its gradient is that with respect to the memories.
    """

    replaced: Memories
    held: Memories
    added: Memories


NO_INTERVENTION = Intervention({}, {}, {})


class Record(NamedTuple):
    """The memories of a run.

    Attributes:
        read: What each step reads, after a reset.
        after: The memories after each step.
        outputs: The outputs of the cell.
        valid: True at steps that are not past the end of their sequence.
        resets: True at steps before which the carry is reset.
        start: The carry that the run starts from.
        last: The carry after the run.
    """

    read: Memories
    after: Memories
    outputs: Float[Array, "T B O"]
    valid: Bool[Array, "T B"]
    resets: Bool[Array, "T B"]
    start: Carry
    last: Carry


class _Inputs(NamedTuple):
    """The arrays of one step; with the leading axis T, those of all steps."""

    step: StepInputs
    reset: Bool[Array, "*T B"]
    replaced: Memories
    added: Memories


def memories_of(carry: Carry) -> dict[str, Array]:
    """Return the memories of a carry by name, from the outside inwards: its arrays of floats, the `h` of a cell first.

    >>> from nlstm_jax.cells import nested_lstm
    >>> list(memories_of(nested_lstm(features=4, depth=2).initial_carry((3,))))
    ['h', 'inner.h', 'inner.c']
    """
    memories = {name: leaf for name, leaf in leaves_with_names(carry) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    cells = list(dict.fromkeys(name.rpartition(".")[0] for name in memories))

    def position(name: str) -> tuple[int, bool]:
        cell, _, last = name.rpartition(".")
        return cells.index(cell), last != "h"

    return {name: memories[name] for name in sorted(memories, key=position)}


def probed_scan(
    cell: Cell,
    params: Params,
    xs: Float[Array, "T B D"],
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    intervention: Intervention = NO_INTERVENTION,
) -> Record:
    """Run a cell as `unroll` does without noise, with an intervention, and record its memories.

    A stack is stepped as one cell, which gives the same results as layer by layer.

    Args:
        cell: The cell.
        params: Its parameters.
        xs: The inputs.
        carry: The carry to start from. None means the initial carry of the cell.
        lengths: The number of steps of each sequence [B], as for `unroll`.
        mask: False at steps that are skipped [T, B].
        resets: True at steps before which the carry is reset [T, B].
        intervention: The changes to the memories.
    """
    length, batch, _ = xs.shape
    params, noise = cell.sample_noise(params, None, xs.shape)
    initial_carry = cell.initial_carry((batch,))
    if carry is None:
        carry = initial_carry
    masks = StepMasks.from_arguments(length, lengths, mask, resets)
    everywhere = jnp.ones((length, batch), bool)
    valid = everywhere if masks.valid is None else masks.valid
    reset = ~everywhere if masks.resets is None else masks.resets
    constants = StepConstants(params, initial_carry)

    def hold(name: str, old: Array, value: AnyArray) -> Array:
        return jnp.where(intervention.held.get(name, jnp.array(True)), value.astype(old.dtype), old)

    def step(carry: Carry, inputs: _Inputs) -> tuple[Carry, tuple[Memories, Memories, Array]]:
        carry = select(inputs.reset, initial_carry, carry)
        carry = _change(carry, inputs.replaced, hold)
        next_carry, (y, _) = masked_step(cell, False, constants, carry, inputs.step)
        next_carry = _change(next_carry, inputs.added, lambda name, old, value: old + value)
        return next_carry, (memories_of(carry), memories_of(next_carry), y)

    xs = select(valid, xs, jnp.zeros_like(xs))
    steps = StepInputs(cell.project(params, xs), noise, valid, None)
    inputs = _Inputs(steps, reset, intervention.replaced, intervention.added)
    last, (read, after, ys) = jax.lax.scan(step, carry, inputs)
    in_sequence = everywhere if masks.in_sequence is None else masks.in_sequence
    return Record(read, after, ys, in_sequence, reset, carry, last)


def _change(carry: Carry, values: Memories, change: Callable[[str, Array, AnyArray], Array]) -> Carry:
    """Return the carry with `change(name, memory, value)` in the place of every memory that has a value."""
    leaves, structure = jax.tree.flatten(carry)
    names = [name for name, _ in leaves_with_names(carry)]
    changed = []
    for name, leaf in zip(names, leaves, strict=True):
        changed.append(change(name, leaf, values[name]) if name in values else leaf)
    return jax.tree.unflatten(structure, changed)
