"""Over time: a cell along a sequence.

`scan` is the plain `lax.scan`, the definition of right.
"""

from nlstm_jax.unroll.api import unroll
from nlstm_jax.unroll.packing import Packed, packed

__all__ = ["Packed", "packed", "unroll"]
