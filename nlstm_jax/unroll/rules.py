"""The rules by which a training run with `unroll.mode=auto` chooses its loop over time, measured in docs/speed.md.

`unroll(mode="auto")` itself never chooses the native loop: a function that contains it cannot be exported by
`jax.export`, a batch that `jax.jit` splits over devices is not split for it, and nobody would record which loop was
used. A run knows its devices, and records its loop.
"""

from pathlib import Path
from typing import NamedTuple

import jax

from nlstm_jax.unroll import dispatch, native


class LoopChoice(NamedTuple):
    """A loop over time, and why it was chosen.

    Attributes:
        name: "scan", "fused", "native" or "cudnn".
        note: What is to be said about it, in one line; empty if there is nothing.
    """

    name: str
    note: str = ""


def fastest_loop(*, one_device: bool) -> LoopChoice:
    """Return the loop that is fastest for cells that all loops serve.

    It is the native loop under these conditions, and the fused loop otherwise:

    - The backend is a CPU with AVX-512. Others have not been measured.
    - One device computes whole batches.
    - The library is compiled. It takes longer to compile than a short run takes.
    - The environment variable `NLSTM_JAX_NATIVE` is not 0.

    Args:
        one_device: True if no batch is split and no runs are stacked in one program.

    >>> fastest_loop(one_device=False).name in ("fused", "scan")
    True
    """
    default = LoopChoice(dispatch.AUTO)
    if dispatch.AUTO != "fused" or native.is_switched_off():
        return default
    if jax.default_backend() != "cpu" or not one_device or not _has_avx512():
        return default
    if native.is_compiled():
        return LoopChoice("native")
    try:
        native.find_compiler()
    except native.CompilerError as error:
        return default._replace(note=f"fused loop: {error.reason}")
    return default._replace(note="fused loop: `python -m nlstm_jax.unroll.native` compiles the native one, once")


def _has_avx512() -> bool:
    try:
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return " avx512f " in described
