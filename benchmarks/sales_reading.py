"""How long reading the sales files takes, and how much memory: `python -m benchmarks.sales_reading [--rows N]`.

Writes a generated chain of shops as large as the real files into a temporary folder and reads it in fresh
processes: without a cache, filling one, and from it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import machine_description
from nlstm_jax.data.sales import PUBLIC_ROWS

_ROOT = Path(__file__).resolve().parents[1]
# The writing has a process of its own too: on Linux a new process starts with its parent's peak as its own.
_WRITE = """
import sys
from pathlib import Path
from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world
world = ShopWorld(shops=60, items=22_170, rows=int(sys.argv[2]), test_pairs=214_200)
write_shop_world(world, Path(sys.argv[1]))
"""
# ru_maxrss is in KiB on Linux and in bytes on macOS
_READ = """
import resource, sys, time
from pathlib import Path
from nlstm_jax.data.sales import read_sales
folder, cache = sys.argv[1:]
start = time.perf_counter()
history = read_sales(Path(folder), Path(cache) if cache else None)
seconds = time.perf_counter() - start
unit = 1 if sys.platform == "darwin" else 1024
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, *history.counts.shape)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=PUBLIC_ROWS, help="rows of sales_train.csv (the public file's)")
    parser.add_argument("--repeats", type=int, default=3, help="readings of each kind; the table has the medians")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sales"
        start = time.perf_counter()
        _run(_WRITE, str(folder), str(arguments.rows))
        written = time.perf_counter() - start
        megabytes = (folder / "sales_train.csv").stat().st_size / 1e6
        print(", ".join(f"{name} {value}" for name, value in machine_description().items()))
        print(
            f"\n{arguments.rows:,} rows ({megabytes:.0f} MB), 214,200 test pairs; "
            f"median of {arguments.repeats}, each in a fresh process\n"
        )
        print("| step | seconds | peak memory, MB | pairs × months |")
        print("|---|---|---|---|")
        print(f"| generate and write | {written:.2f} | | |")
        for step, caches in (
            ("read", [""] * arguments.repeats),
            ("read and fill the cache", [f"{temporary}/cache{n}" for n in range(arguments.repeats)]),
            ("read from the cache", [f"{temporary}/cache0"] * arguments.repeats),
        ):
            figures = np.array([_run(_READ, str(folder), cache) for cache in caches])
            seconds, memory, pairs, months = np.median(figures, axis=0)
            print(f"| {step} | {seconds:.2f} | {memory:.0f} | {pairs:,.0f} × {months:.0f} |")


def _run(program: str, *arguments: str) -> list[float]:
    """The figures that a program prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return [float(figure) for figure in done.stdout.split()]


if __name__ == "__main__":
    main()
