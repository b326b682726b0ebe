"""Training steps whose loss, gradient or new parameters are not finite, and updates that are skipped."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlstm_jax.types import Array, Bool, Config, Float, Int

NONE = -1
"""The step, or the parameter, that stands for none."""


class SkippedUpdates(NamedTuple):
    """The number of updates that a run has skipped, in all and in a row up to the last step."""

    total: Int[Array, "*M"]
    in_a_row: Int[Array, "*M"]

    @classmethod
    def none(cls) -> Self:
        """Return the numbers of a run before its first step."""
        return cls(jnp.int32(0), jnp.int32(0))

    def after(self, is_finite: Bool[Array, ""]) -> Self:
        """Return the numbers after one more step."""
        total = self.total + jnp.where(is_finite, 0, 1)
        return type(self)(total, jnp.where(is_finite, 0, self.in_a_row + 1))


class NonfiniteSteps(NamedTuple):
    """The bad steps of one call: those whose loss, gradient or new parameters are not finite.

    Attributes:
        step: The first of them, counted from 1.
        loss: Its loss.
        parameter: The index of the first parameter, in the order of `jax.tree.leaves`, whose gradient is not finite
            at that step; `NONE` if all gradients are finite.
        last: The step that ends the run.
    """

    step: Int[Array, "*M"]
    loss: Float[Array, "*M"]
    parameter: Int[Array, "*M"]
    last: Int[Array, "*M"]

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Self:
        """Return the report of a call without a step."""
        unknown = jnp.full(shape, NONE, jnp.int32)
        return cls(unknown, jnp.full(shape, jnp.nan, jnp.float32), unknown, unknown)

    @classmethod
    def of_step(
        cls,
        step: Int[Array, ""],
        loss: Float[Array, ""],
        gradients: Any,
        *,
        is_finite: Bool[Array, ""],
        is_last: Bool[Array, ""],
    ) -> Self:
        """Return the report of one step.

        The sums of squares of the gradients are those that their norm is made of, so that the compiler computes them
        once.

        Args:
            step: The number of the step.
            loss: Its loss.
            gradients: The gradients by parameter.
            is_finite: Whether the step is good.
            is_last: Whether it ends the run.
        """
        none = jnp.int32(NONE)
        parameter = none
        for index, gradient in reversed(list(enumerate(jax.tree.leaves(gradients)))):
            square = optax.tree.norm(gradient, squared=True)
            parameter = jnp.where(jnp.isfinite(square), parameter, index)
        bad_step = jnp.where(is_finite, none, step)
        return cls(bad_step, loss, parameter, jnp.where(is_last, step, none))

    def first(self, later: Self) -> Self:
        """Return the report of these steps and of later ones together."""
        is_known = self.step != NONE
        step = jnp.where(is_known, self.step, later.step)
        loss = jnp.where(is_known, self.loss, later.loss)
        parameter = jnp.where(is_known, self.parameter, later.parameter)
        return type(self)(step, loss, parameter, jnp.where(self.last != NONE, self.last, later.last))


def skip_limit(config: Config) -> int:
    """Return `CompiledSteps.skip_limit` of a configuration."""
    options = config["train"]
    return int(options["nonfinite_limit"]) if options["nonfinite"] == "skip" else 0


def first_nonfinite(arrays: Mapping[str, Any]) -> str | None:
    """Return the name of the first array of floating-point numbers that has one that is not finite; None if all are.

    Args:
        arrays: Arrays by name.
    """
    for name, array in arrays.items():
        if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(np.asarray(array)).all():
            return name
    return None
