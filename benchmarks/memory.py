"""How much memory one contestant's step takes, measured by itself in a fresh process: `peak(…)`."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks import contestants
from benchmarks.contestants import KINDS, Shape

_ROOT = Path(__file__).resolve().parents[1]
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak(name: str, kind: str, shape: Shape, training: bool) -> float | None:
    """The most memory, in MB, that the process of a contestant of `contestants.ALL` has more in a step than before.

    None where the system does not tell (it is Linux that does), or the contestant cannot be had.
    """
    if not _RESET.exists():
        return None
    command = [sys.executable, "-m", "benchmarks.memory", name, kind, *map(str, shape), str(int(training))]
    # What is freed is to be given back, so that it is counted once.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    """Print the figure of one contestant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=list(contestants.ALL))
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("numbers", nargs=5, type=int)
    arguments = parser.parse_args()
    *shape, training = arguments.numbers
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    run = contestants.ALL[arguments.name](arguments.kind, Shape(*shape), bool(training))
    assert run is not None
    run()
    before = _megabytes("VmRSS")
    _RESET.write_text("5")
    run()
    print(_megabytes("VmHWM") - before)


def _megabytes(field: str) -> float:
    line = next(line for line in _STATUS.read_text("utf-8").splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


if __name__ == "__main__":
    main()
