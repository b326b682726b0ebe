"""The plain `jax.lax.scan`: the definition of right, which every other loop must equal."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Carry, Noise, Params, Projected, PyTree
from nlstm_jax.unroll.options import StepCount


class StepConstants(NamedTuple):
    """The arrays that are the same at every step.

    Attributes:
        params: The parameters of the cell.
        initial_carry: The carry that a reset puts in place.
    """

    params: Params
    initial_carry: Carry


class StepInputs(NamedTuple):
    """The arrays of one step; with the leading axis T, those of all steps.

    Attributes:
        z: The projected inputs.
        noise: The noise, or an empty tuple.
        valid: False where the step is skipped; None: nowhere.
        reset: True where the carry is reset before the step; None: nowhere.
    """

    z: Projected
    noise: Noise
    valid: Bool[Array, "*T B"] | None
    reset: Bool[Array, "*T B"] | None


Body: TypeAlias = Callable[[StepConstants, Carry, StepInputs], tuple[Carry, PyTree]]
"""One step of a loop: (constants, carry, inputs) → (next carry, what the loop stacks over time)."""


def scan(
    body: Body, constants: StepConstants, carry: Carry, inputs: StepInputs, length: StepCount, reverse: bool
) -> tuple[Carry, PyTree]:
    """Run `body` over the leading axis of `inputs`, and return the last carry and the stacked outputs."""
    return jax.lax.scan(partial(body, constants), carry, inputs, constant_length(length), reverse)


def constant_length(length: StepCount) -> int | None:
    """Return the number of steps for `jax.lax.scan`; None if it is symbolic, so that the inputs tell it.

    A function that `jax.export` exports can have a symbolic number of steps.
    """
    return length if isinstance(length, int) else None


def select(condition: Bool[Array, "*b"], if_true: Carry, if_false: Carry) -> Carry:
    """Apply `jnp.where` to every leaf of two pytrees, with `condition` aligned to the leading axes."""

    def select_leaf(a: Array, b: Array) -> Array:
        trailing_axes = (1,) * (a.ndim - condition.ndim)
        return jnp.where(condition.reshape(condition.shape + trailing_axes), a, b)

    return jax.tree.map(select_leaf, if_true, if_false)
