"""A comparison of nested and stacked LSTMs at equal parameters, six seeds each, on generated poems.

    python -m experiments.sweep --sweep=configs/sweeps/poems_depth.py --workdir=sweeps/depth

There are 30 runs. The demo's nine runs of the same kind took a minute and a half on two cores. Results are in
docs/results/poems_depth/compare.md.
"""

from collections.abc import Callable

CONTRAST = ("nlstm depth=2", "lstm layers=2")
"""The two groups, of equal cost, whose comparison is planned. Every other comparison is exploratory."""

CELLS = (
    {"cell": "lstm"},
    {"cell": "lstm", "layers": 2},
    {"cell": "lstm", "layers": 3},
    {"cell": "nlstm", "depth": 2},
    {"cell": "nlstm", "depth": 3},
)


def sweep(add: Callable[..., None]) -> None:
    """Add the trials. The loop over seeds is the outermost, so that a sweep cut short has all cells on some seeds."""
    for seed in range(6):
        for cell in CELLS:
            add("demo", **cell, seed=seed)
