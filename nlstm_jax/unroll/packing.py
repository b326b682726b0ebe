"""Masks and resets for rows that hold several documents each."""

from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Int


class Packed(NamedTuple):
    """Arguments of `unroll` for packed rows.

    Attributes:
        mask: False at padding.
        resets: True at steps before which the carry is reset.
    """

    mask: Bool[Array, "T B"]
    resets: Bool[Array, "T B"]


def packed(segments: Int[Array, "T B"], reverse: bool = False) -> Packed:
    """Return the mask and the resets for rows of several documents, so that no carry passes from one to the next.

    Args:
        segments: The number of the document that every step belongs to [T, B]. The steps of one document have the same
            number ≥ 1 and are adjacent; 0 is padding.
        reverse: The argument `reverse` of the `unroll` that takes the result. A reversed run enters a document at its
            last step.

    Returns:
        The mask, and a reset wherever a document is entered, except for the first document of a row, which continues
        from the carry that `unroll` starts from.

    >>> rows: Packed = packed(jnp.array([[1], [1], [2], [0]]))
    >>> mask, resets = rows
    >>> mask[:, 0].tolist(), resets[:, 0].tolist()
    ([True, True, True, False], [False, False, True, False])
    """
    if reverse:
        mask, resets = packed(jnp.flip(segments, axis=0))
        return Packed(jnp.flip(mask, axis=0), jnp.flip(resets, axis=0))

    mask = segments > 0
    previous_segments = jnp.concatenate([jnp.zeros_like(segments[:1]), segments[:-1]])
    is_after_first_step = jnp.cumsum(mask, axis=0) > mask
    return Packed(mask, mask & is_after_first_step & (segments != previous_segments))
