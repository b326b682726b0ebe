"""Time and memory of reading the sales files: `python -m benchmarks.sales_reading [--rows N]`.

Writes the files of a generated chain of shops, as large as the real ones, into a temporary folder. Reads them in fresh
processes: without a cache, while filling a cache, and from the cache.
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
# Writing has its own process too, because on Linux a new process starts with the peak memory of its parent.
_WRITE = """
import sys
from pathlib import Path
from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world
world = ShopWorld(shops=60, items=22_170, rows=int(sys.argv[2]), test_pairs=214_200)
write_shop_world(world, Path(sys.argv[1]))
"""
# ru_maxrss is in KiB on Linux and in bytes on macOS.
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
    """Write the files, read them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=PUBLIC_ROWS, help="rows of sales_train.csv (the public file's)")
    parser.add_argument("--repeats", type=int, default=3, help="readings of each kind; the table has the medians")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sales"
        start = time.perf_counter()
        _run(_WRITE, str(folder), str(arguments.rows))
        writing_seconds = time.perf_counter() - start
        megabytes = (folder / "sales_train.csv").stat().st_size / 1e6
        print(", ".join(f"{name} {value}" for name, value in machine_description().items()))
        print(
            f"\n{arguments.rows:,} rows ({megabytes:.0f} MB), 214,200 test pairs; "
            f"median of {arguments.repeats}, each in a fresh process\n"
        )
        print("| step | seconds | peak memory, MB | pairs × months |")
        print("|---|---|---|---|")
        print(f"| generate and write | {writing_seconds:.2f} | | |")
        caches_by_step = {
            "read": [""] * arguments.repeats,
            "read and fill the cache": [f"{temporary}/cache{index}" for index in range(arguments.repeats)],
            "read from the cache": [f"{temporary}/cache0"] * arguments.repeats,
        }
        for step, caches in caches_by_step.items():
            figures = np.array([_run(_READ, str(folder), cache) for cache in caches])
            seconds, memory, pairs, months = np.median(figures, axis=0)
            print(f"| {step} | {seconds:.2f} | {memory:.0f} | {pairs:,.0f} × {months:.0f} |")


def _run(program: str, *arguments: str) -> list[float]:
    """Run a Python program in a fresh process and return the numbers that it prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)
    return [float(figure) for figure in done.stdout.split()]


if __name__ == "__main__":
    main()
