"""Peak memory of a training step, native and fused: `python -m benchmarks.native_memory [--out=native_memory.md]`.

Each row is the growth of VmHWM, the process' peak of resident memory, over two training steps (forward pass, and the
gradients of Σ y² by all parameters and inputs) in a fresh process, in which the step is compiled before. The arguments
are in memory before and are not counted. Needs Linux and a C++ compiler.
"""

import argparse
import functools
import json
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks import implementations, measure
from benchmarks.implementations import Shape
from benchmarks.recurrent import SHAPES

KINDS = ("LSTM", "GRU", "NLSTM depth 2", "own cell")
MODES = ("native", "fused")
HEADER = [
    "| | (T, B, D, H) | native, MB | fused, MB | native / fused |",
    "|---|---|---:|---:|---:|",
]


def main() -> None:
    """Measure, and print and write the table; in a process of its own, measure one entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a Markdown file")
    parser.add_argument("--entry", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.entry:
        kind, mode, *shape = json.loads(arguments.entry)
        print(growth(kind, mode, Shape(*shape)))
        return
    table = ["# Peak memory of the native loop", "", *HEADER]
    for shape in SHAPES:
        for kind in KINDS:
            table.append(row(kind, shape))
            print(table[-1], flush=True)
    if arguments.out is not None:
        arguments.out.write_text(page(table), "utf-8")


def page(table: list[str]) -> str:
    """Return the page of results: the command, the machine and the table."""
    machine = ", ".join(f"{name} {value}" for name, value in measure.machine_description().items())
    command = " ".join(["python -m benchmarks.native_memory", *sys.argv[1:]])
    return "\n".join(
        [f"Written by `{command}`.", "", f"{machine}.", "Every entry has a process of its own.", "", *table, ""]
    )


def row(kind: str, shape: Shape) -> str:
    """Measure one kind of layer at one shape, and return its row of the table."""
    megabytes = {mode: _in_process(kind, mode, shape) for mode in MODES}
    ratio = megabytes["native"] / megabytes["fused"]
    return f"| {kind} | {tuple(shape)} | {megabytes['native']:.1f} | {megabytes['fused']:.1f} | {ratio:.2f} |"


def growth(kind: str, mode: str, shape: Shape) -> float:
    """Return by how many MB two training steps raise the peak of the resident memory of this process."""
    run = implementations.ours(kind, shape, training=True, mode=mode)
    assert isinstance(run, functools.partial)
    step, *arrays = run.args
    compiled = step.lower(*arrays).compile()
    # The peak begins anew at the memory in use, as compilation had a peak of its own.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = peak_megabytes()
    for _ in range(2):
        jax.block_until_ready(compiled(*arrays))
    return peak_megabytes() - before


def peak_megabytes() -> float:
    """Return VmHWM of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _in_process(kind: str, mode: str, shape: Shape) -> float:
    command = [sys.executable, "-m", "benchmarks.native_memory", "--entry", json.dumps([kind, mode, *shape])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
