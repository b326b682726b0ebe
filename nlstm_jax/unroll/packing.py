"""Several documents in one row: what to tell `unroll` about them."""

from typing import NamedTuple

import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Int


class Packed(NamedTuple):
    """Arguments of `unroll`: steps that are no padding, and steps before which the memory is cleared."""

    mask: Bool[Array, "T B"]
    resets: Bool[Array, "T B"]


def packed(segments: Int[Array, "T B"]) -> Packed:
    """The marks of rows that hold several documents each, so that none sees another's memory.

    Args:
        segments: which document every step belongs to; steps of one document have one number ≥ 1 and stand together, 0
            is padding.

    Returns:
        The mask, and a reset at every document's first step but a row's own: there the carry that is given goes on.

    >>> mask, resets = packed(jnp.array([[1], [1], [2], [0]]))
    >>> mask[:, 0].tolist(), resets[:, 0].tolist()
    ([True, True, True, False], [False, False, True, False])
    """
    mask = segments > 0
    changes = jnp.concatenate([jnp.zeros_like(mask[:1]), segments[1:] != segments[:-1]])
    return Packed(mask, changes & mask)
