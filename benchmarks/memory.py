"""The memory that a training step needs, from JAX's analysis of its program or from the growth of a PyTorch process.

JAX is not measured by the growth of a process, because a second call reuses the memory of the first and seems to need
nothing.
"""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import implementations, measure
from benchmarks.implementations import KINDS, Shape

_ROOT = Path(__file__).resolve().parents[1]
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def megabytes(run: Callable[[], object], kind: str, shape: Shape, training: bool) -> float | None:
    """Return the memory that an implementation needs, in MB.

    For JAX these are the arguments, results and temporary buffers of the program. For PyTorch it is the growth of a
    process in a step.

    Args:
        run: The implementation, as a factory of `implementations` returns it.
        kind: The kind of layer, a key of `KINDS`.
        shape: The shape of the layer and its inputs.
        training: True for a training step, False for a forward pass.

    Returns:
        None if the operating system does not report the memory of a process. Linux does.
    """
    if isinstance(run, functools.partial):
        function, *arguments = run.args
        return measure.compiled_megabytes(function.lower(*arguments).compile())
    if not _RESET.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", kind, *map(str, shape), str(int(training))]
    # Have malloc return freed memory to the system, so that reused memory is not counted twice.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return None
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print by how many MB the process of the PyTorch implementation grows in a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("numbers", nargs=5, type=int)
    arguments = parser.parse_args()
    *shape, training = arguments.numbers
    run = implementations.torch(arguments.kind, Shape(*shape), bool(training))
    assert run is not None
    run()
    before = _megabytes_in_status("VmRSS")
    # Writing 5 resets the peak of the process.
    _RESET.write_text("5")
    run()
    print(_megabytes_in_status("VmHWM") - before)


def _megabytes_in_status(field: str) -> float:
    """Return a field of the process status, which is in kB, in MB."""
    line = next(line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


if __name__ == "__main__":
    main()
