"""Is an LSTM better nested or stacked? Six seeds of each at equal parameters, on poems.

    python -m experiments.sweep --sweep=configs/sweeps/poems_depth.py --workdir=sweeps/depth

30 runs; the demo's nine of their kind took a minute and a half on two cores.
"""

from collections.abc import Callable

CONTRAST = ("nlstm depth=2", "lstm layers=2")
"""Of equal cost; every other difference is exploratory."""

CELLS = (
    {"cell": "lstm"},
    {"cell": "lstm", "layers": 2},
    {"cell": "lstm", "layers": 3},
    {"cell": "nlstm", "depth": 2},
    {"cell": "nlstm", "depth": 3},
)


def sweep(add: Callable[..., None]) -> None:
    """Seeds outermost, so that a sweep cut short has compared all cells on the seeds that it has."""
    for seed in range(6):
        for cell in CELLS:
            add("configs/demo.py", **cell, seed=seed)
