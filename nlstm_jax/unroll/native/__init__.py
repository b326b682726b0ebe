"""A loop in compiled C++, for any cell on a CPU.

The fused loop (`nlstm_jax.unroll.fused`) turns a step and its derivative into two plain loops of equations. Here each
of them is one call of a small C++ library instead of a `jax.lax.scan`: weights are packed once a call, and each thread
takes its rows of the batch through all steps.

- `lowering` turns the equations of a step into operations on rows, which are listed in `values`.
- `program` decides where each value lives.
- `scan` has the arguments and results of `jax.lax.scan`.
- `loop.cc` runs the program.
- `library` compiles `loop.cc` with the system's compiler at first use, and keeps the result in a cache folder.
"""

from nlstm_jax.unroll.fused import Loop, apply_each_gate
from nlstm_jax.unroll.native.library import CompilerError, find_compiler, is_compiled, is_switched_off, load_library
from nlstm_jax.unroll.native.scan import scan
from nlstm_jax.unroll.native.values import UnsupportedError

LOOP = Loop(scan, apply_each_gate)
"""The loop as `fused.scan` takes it."""

__all__ = [
    "LOOP",
    "CompilerError",
    "UnsupportedError",
    "find_compiler",
    "is_compiled",
    "is_switched_off",
    "load_library",
    "scan",
]
