"""A sweep of `configs/echo.py` over the length of the sequence: four cells of one size, five lengths, three seeds.

It shows the length up to which each cell can still repeat the beginning of a sequence.

    python -m experiments.sweep --sweep=configs/sweeps/echo_length.py --workdir=sweeps/echo_length
    python -m experiments.compare 'sweeps/echo_length/trials/*' --metric=token_accuracy --against=data.length

There are 60 runs of half a minute to one and a half minutes on one core each. All use the learning rate of
`configs/echo.py`. Results are in docs/results/echo_length/compare.md.
"""

from collections.abc import Callable

PARAMETERS = 100_000
"""The number of parameters of encoder and decoder together."""

LENGTHS = (5, 10, 20, 35, 50)
CELLS = ({"cell": "lstm"}, {"cell": "gru"}, {"cell": "lstm", "layers": 2}, {"cell": "nlstm", "depth": 2})


def sweep(add: Callable[..., None]) -> None:
    """Add the trials. The loop over seeds is the outermost, so that a sweep cut short has a curve of every cell."""
    for seed in range(3):
        for length in LENGTHS:
            for cell in CELLS:
                add("echo", **cell, params=PARAMETERS, seed=seed, settings={"data.length": length})
