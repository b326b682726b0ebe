"""One cell over time: by `jax.lax.scan`, the definition of right, or by the fast loop that equals it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells import Cell
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params
from nlstm_jax.unroll import cudnn, fused
from nlstm_jax.unroll.blocks import Run, rematerialised, truncated


class StepMasks(NamedTuple):
    """What is special about single steps of single sequences; None: nothing anywhere.

    `valid`: steps that are neither masked nor past the end; `within`: those that are not past the end.
    """

    valid: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None
    within: Bool[Array, "T B"] | None

    def reversed_in_time(self, reverse: bool) -> "StepMasks":
        """The marks for the other direction: what starts a document in this one ends it in the other.

        Args:
            reverse: whether these marks are for a run from the last step to the first.
        """
        if self.resets is None:
            return self
        none = jnp.zeros_like(self.resets[:1])
        ends = [none, self.resets[:-1]] if reverse else [self.resets[1:], none]
        resets = jnp.concatenate(ends)
        return self._replace(resets=resets if self.within is None else resets & self.within)


class LayerState(NamedTuple):
    """What one layer brings to a run.

    `params` are prepared, `noise` has the leading axis T; the run starts from `carry`, a reset puts `fresh` in place.
    """

    params: Params
    noise: Noise
    carry: Carry
    fresh: Carry


class ScanOptions(NamedTuple):
    """What all layers of a run have in common.

    `reverse`: from the last step to the first, every output staying at its input's place; `return_carries`: whether
    to keep the carry after every step; `mode`: "scan", "fused" or "cudnn"; `remat`, `truncate`: steps in a block that
    is computed anew on the way back, in one that the gradient does not leave; 0: no blocks.
    """

    marks: StepMasks
    reverse: bool
    return_carries: bool
    mode: str
    remat: int
    truncate: int

    def reversed_in_time(self) -> "ScanOptions":
        """The other direction over the same sequences."""
        return self._replace(marks=self.marks.reversed_in_time(self.reverse), reverse=not self.reverse)


def scan(
    cell: Cell, xs: Float[Array, "T B D"], part: LayerState, course: ScanOptions
) -> tuple[Carry, Float[Array, "T B O"], Carry | None]:
    """Run `cell` along the first axis of `xs`; inputs of steps that are not valid have no effect.

    Returns:
        The last carry, the outputs, and all carries [T, B, ...] or None.
    """
    marks = course.marks

    def body(constants: tuple, carry: Carry, inputs: tuple) -> tuple[Carry, tuple[Array, Carry | None]]:
        (params, fresh), (z, step_noise, valid, reset) = constants, inputs
        if reset is not None:
            carry = _where(reset, fresh, carry)
        after, y = cell.step(params, carry, z, step_noise)
        if valid is not None:
            after = _where(valid, after, carry)
            y = _where(valid, y, jnp.zeros_like(y))
        return after, (y, after if course.return_carries else None)

    if marks.valid is not None:
        # Garbage in the padding must not reach a gradient as 0 · NaN.
        xs = _where(marks.valid, xs, jnp.zeros_like(xs))
    project, loop = cell.project, _plain
    if course.mode == "cudnn":
        lengths = None if marks.within is None else marks.within.sum(0)
        return *cudnn.lstm(part.params, xs, part.carry, lengths, course.reverse), None
    if course.mode == "fused":
        project, loop = partial(fused.hoisted, cell.project), fused.scan

    def whole(carry: Carry, inputs: tuple, length: int) -> tuple[Carry, tuple[Array, Carry | None]]:
        z = project(part.params, inputs[0])
        return loop(body, (part.params, part.fresh), carry, (z, *inputs[1:]), length, course.reverse)

    run: Run = whole
    if course.remat:
        run = rematerialised(run, course.remat, course.reverse)
    if course.truncate:
        run = truncated(run, course.truncate, course.reverse)
    carry, (ys, carries) = run(part.carry, (xs, part.noise, marks.valid, marks.resets), xs.shape[0])
    return carry, ys, carries


def _plain(body: Any, constants: Any, carry: Any, xs: Any, length: int, reverse: bool) -> Any:
    return jax.lax.scan(partial(body, constants), carry, xs, length, reverse)


def _where(condition: Bool[Array, "*b"], new: Carry, old: Carry) -> Carry:
    """`jnp.where` by example over whole carries."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, new, old)
