"""Running a cell along a batch of sequences.

- `api`: the public function `unroll`.
- `validate`: the checks of its arguments.
- `options`: the bundles of arrays and options that the loops take.
- `dispatch`: the choice of the loop, and layers over time: a stack, both directions, one cell with its masks.
- `scan`: the plain `jax.lax.scan`, the definition of right.
- `fused`: the fast loop that equals it to rounding, explained in docs/fused.md.
- `cudnn`: NVIDIA's kernel for plain LSTMs.
- `blocks`: rematerialization and truncated backpropagation through time.
- `packing`: several documents in one row.
"""

from nlstm_jax.unroll.api import unroll
from nlstm_jax.unroll.packing import Packed, packed

__all__ = ["Packed", "packed", "unroll"]
