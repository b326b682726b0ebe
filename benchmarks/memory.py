"""How much memory a step takes: by what JAX says of its program, or by what the process of PyTorch's grows.

Measured by processes, JAX would seem to need nothing: what a first call has taken is there for a second.
"""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import implementations, measure
from benchmarks.implementations import KINDS, Shape

_ROOT = Path(__file__).resolve().parents[1]
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def megabytes(run: Callable[[], Any], kind: str, shape: Shape, training: bool) -> float | None:
    """Of a contestant: a program's arguments, results and what lies between; or, for PyTorch, a process' growth.

    None where the system does not tell: it is Linux that does.
    """
    if isinstance(run, functools.partial):
        function, *given = run.args
        return measure.compiled_megabytes(function.lower(*given).compile())
    if not _RESET.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", kind, *map(str, shape), str(int(training))]
    # What is freed is to be given back, so that it is counted once.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    """Print by how much the process of PyTorch's contestant grows in a step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("numbers", nargs=5, type=int)
    arguments = parser.parse_args()
    *shape, training = arguments.numbers
    run = implementations.torch(arguments.kind, Shape(*shape), bool(training))
    assert run is not None
    run()
    before = _status("VmRSS")
    _RESET.write_text("5")
    run()
    print(_status("VmHWM") - before)


def _status(field: str) -> float:
    line = next(line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


if __name__ == "__main__":
    main()
