"""The bundles of arrays and options that are passed to the loops over time."""

from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Carry, Int, Noise, Params

StepCount: TypeAlias = Any
"""A number of steps: an int, or the symbolic dimension of a function that `jax.export` exports."""


class StepMasks(NamedTuple):
    """Masks of single steps of single sequences.

    Attributes:
        valid: True at steps that are neither masked nor past the end of their sequence; None: all steps are valid.
        resets: True at steps before which the carry is reset to the initial carry; None: no resets.
        in_sequence: True at steps that are not past the end of their sequence; None: all sequences have T steps.
    """

    valid: Bool[Array, "T B"] | None
    resets: Bool[Array, "T B"] | None
    in_sequence: Bool[Array, "T B"] | None

    @classmethod
    def from_arguments(
        cls,
        length: StepCount,
        lengths: Int[Array, "B"] | None,
        mask: Bool[Array, "T B"] | None,
        resets: Bool[Array, "T B"] | None,
    ) -> "StepMasks":
        """Merge `lengths` and `mask` into one mask, and drop the resets past the end of a sequence.

        Args:
            length: The number of steps T.
            lengths: The number of steps of each sequence, or None if all have T steps.
            mask: False at steps that are skipped, or None if there are none.
            resets: True at steps before which the carry is reset, or None if there are none.
        """
        if lengths is None:
            return cls(mask, resets, None)

        in_sequence = jnp.arange(length)[:, None] < lengths
        valid = in_sequence
        if mask is not None:
            valid = mask & in_sequence
        if resets is not None:
            resets = resets & in_sequence
        return cls(valid, resets, in_sequence)

    def reversed_in_time(self, reverse: bool) -> "StepMasks":
        """Return the masks for a run in the other direction over the same sequences.

        A reset before a step starts a document. A run in the other direction enters the document that ends there, so
        the reset moves to the neighboring step.

        Args:
            reverse: True if the masks of `self` are for a run from the last step to the first.
        """
        if self.resets is None:
            return self

        no_reset = jnp.zeros_like(self.resets[:1])
        if reverse:
            resets = jnp.concatenate([no_reset, self.resets[:-1]])
        else:
            resets = jnp.concatenate([self.resets[1:], no_reset])
        if self.in_sequence is not None:
            resets = resets & self.in_sequence
        return self._replace(resets=resets)


class LayerState(NamedTuple):
    """The arrays that one layer brings to a run.

    Attributes:
        params: The parameters, as returned by `sample_noise`.
        noise: The noise of every step, with the leading axis T, or an empty tuple.
        carry: The carry that the run starts from.
        initial_carry: The carry that a reset puts in place.
    """

    params: Params
    noise: Noise
    carry: Carry
    initial_carry: Carry


class ScanOptions(NamedTuple):
    """The options that all layers of a run have in common.

    Attributes:
        masks: The masks of the steps.
        reverse: True to run from the last step to the first; an output stays at the index of its input.
        return_carries: True to return the carry after every step.
        mode: The loop: "scan", "fused" or "cudnn".
        remat: The number of steps in a block that the backward pass computes again; 0: no blocks.
        truncate: The number of steps in a block that the gradient does not leave; 0: no blocks.
    """

    masks: StepMasks
    reverse: bool
    return_carries: bool
    mode: str
    remat: int
    truncate: int

    def reversed_in_time(self) -> "ScanOptions":
        """Return the options for a run in the other direction over the same sequences."""
        return self._replace(masks=self.masks.reversed_in_time(self.reverse), reverse=not self.reverse)
