"""The native loop beside the fused loop and PyTorch: `python -m benchmarks.native [--out=speed_native.md]`.

Measures a training step (forward pass, and the gradients of Σ y² by all parameters and inputs) and a forward pass. All
implementations run in one process, in interleaved rounds, on one CPU device. PyTorch's peer of a Nested LSTM of depth
2 is a 2-layer LSTM, which has the same cost. Needs a quiet machine, a C++ compiler and the extra `peers`.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import implementations, measure
from benchmarks.implementations import Shape
from benchmarks.recurrent import SHAPES
from nlstm_jax.process import tune_malloc

PEERS = {"LSTM": "LSTM", "GRU": "GRU", "NLSTM depth 2": "2-layer LSTM", "own cell": None}
"""PyTorch's layer of the same cost for each of our kinds."""
HEADER = [
    "| | (T, B, D, H) | native: minimum, median, ms | fused: median, ms | PyTorch: median, ms "
    "| native / fused [95 %] | native / PyTorch [95 %] |",
    "|---|---|---:|---:|---:|---:|---:|",
]


def main() -> None:
    """Measure, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row")
    parser.add_argument("--rounds", type=int, default=400, help="at most")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    arguments = parser.parse_args()
    tune_malloc()
    table = ["# The native loop", "", *HEADER]
    for training in (True, False):
        for shape in SHAPES:
            for kind in PEERS:
                table.append(row(kind, shape, training, arguments.seconds, arguments.rounds))
                print(table[-1], flush=True)
    measure.finish("benchmarks.native", table, arguments.out)


def row(kind: str, shape: Shape, training: bool, seconds: float, rounds: int) -> str:
    """Measure one kind of layer at one shape, and return its row of the table."""
    runs = {mode: implementations.ours(kind, shape, training, mode=mode) for mode in ("native", "fused")}
    peer = PEERS[kind]
    if peer is not None:
        runs["PyTorch"] = implementations.torch(peer, shape, training)
    times = measure.interleaved({name: run for name, run in runs.items() if run is not None}, seconds, rounds)
    native = times["native"]
    cells = [
        f"{kind}, {'training step' if training else 'forward pass'}",
        str(tuple(shape)),
        f"{1e3 * native.min():.2f}, {1e3 * np.median(native):.2f}",
        f"{1e3 * np.median(times['fused']):.2f}",
        f"{1e3 * np.median(times['PyTorch']):.2f}" if peer else "",
        measure.format_ratio(measure.ratio(native, times["fused"])),
        measure.format_ratio(measure.ratio(native, times["PyTorch"])) if peer else "",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
