"""One cell over time by `lax.scan`: the definition of right."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells import Cell
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params


class Marks(NamedTuple):
    """What is special about single steps of single sequences; None: nothing anywhere.

    `valid`: steps that are neither masked nor past the end; `within`: those that are not past the end.
    """

    valid: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None
    within: Bool[Array, "T B"] | None

    def mirrored(self, reverse: bool) -> "Marks":
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


def scan(
    cell: Cell,
    params: Params,
    xs: Float[Array, "T B D"],
    carry: Carry,
    noise: Noise,
    marks: Marks,
    fresh: Carry,
    reverse: bool,
    return_carries: bool,
) -> tuple[Carry, Float[Array, "T B O"], Carry | None]:
    """Run `cell` along the first axis of `xs`.

    Args:
        cell: the cell.
        params: prepared parameters.
        xs: inputs; those of steps that are not valid have no effect.
        carry: the memory to start from.
        noise: from `prepare`, leading axis T.
        marks: steps that copy the carry and put out zero; steps before which `fresh` is put in place.
        fresh: the cell's initial carry.
        reverse: from the last step to the first; every output stays at its input's place.
        return_carries: whether to keep the carry after every step.

    Returns:
        The last carry, the outputs, and all carries [T, B, ...] or None.
    """

    def body(carry: Carry, inputs: tuple) -> tuple[Carry, tuple[Array, Carry | None]]:
        z, step_noise, valid, reset = inputs
        if reset is not None:
            carry = _where(reset, fresh, carry)
        after, y = cell.step(params, carry, z, step_noise)
        if valid is not None:
            after = _where(valid, after, carry)
            y = _where(valid, y, jnp.zeros_like(y))
        return after, (y, after if return_carries else None)

    if marks.valid is not None:
        # Garbage in the padding must not reach a gradient as 0 · NaN.
        xs = _where(marks.valid, xs, jnp.zeros_like(xs))
    inputs = (cell.project(params, xs), noise, marks.valid, marks.resets)
    carry, (ys, carries) = jax.lax.scan(body, carry, inputs, length=xs.shape[0], reverse=reverse)
    return carry, ys, carries


def _where(condition: Bool[Array, "*b"], new: Carry, old: Carry) -> Carry:
    """`jnp.where` by example over whole carries."""

    def choose(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(choose, new, old)
