"""Several documents in one row: what to tell `unroll` about them."""

from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Int


class Packed(NamedTuple):
    """Arguments of `unroll`: steps that are no padding, and steps before which the memory is cleared."""

    mask: Bool[Array, "T B"]
    resets: Bool[Array, "T B"]


def packed(segments: Int[Array, "T B"], reverse: bool = False) -> Packed:
    """The marks of rows that hold several documents each, so that none sees another's memory.

    Args:
        segments: which document every step belongs to; steps of one document have one number ≥ 1 and stand together, 0
            is padding.
        reverse: the `unroll` that the marks are for: a reversed one enters a document at its last step.

    Returns:
        The mask, and a reset wherever a document is entered, but for a row's first: there the carry that is given goes
        on.

    >>> mask, resets = packed(jnp.array([[1], [1], [2], [0]]))
    >>> mask[:, 0].tolist(), resets[:, 0].tolist()
    ([True, True, True, False], [False, False, True, False])
    """
    if reverse:
        return Packed(*(jnp.flip(marks, axis=0) for marks in packed(jnp.flip(segments, axis=0))))
    mask = segments > 0
    before = jnp.concatenate([jnp.zeros_like(segments[:1]), segments[:-1]])
    entered = jnp.cumsum(mask, axis=0) > mask
    return Packed(mask, mask & entered & (segments != before))
