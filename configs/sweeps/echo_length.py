"""How long a sequence can be and its beginning still be echoed: four memories of one size, five lengths, three seeds.

    python -m experiments.sweep --sweep=configs/sweeps/echo_length.py --workdir=sweeps/echo_length
    python -m experiments.compare 'sweeps/echo_length/trials/*' --metric=token_accuracy --against=data.length

60 runs of half a minute to one and a half on a core each. The learning rate is that of `configs/echo.py` for all.
"""

from collections.abc import Callable

PARAMETERS = 100_000
"""Of encoder and decoder together."""

LENGTHS = (5, 10, 20, 35, 50)
CELLS = ({"cell": "lstm"}, {"cell": "gru"}, {"cell": "lstm", "layers": 2}, {"cell": "nlstm", "depth": 2})


def sweep(add: Callable[..., None]) -> None:
    """Seeds outermost, so that a sweep cut short has a curve of every cell."""
    for seed in range(3):
        for length in LENGTHS:
            for cell in CELLS:
                add("configs/echo.py", **cell, params=PARAMETERS, seed=seed, settings={"data.length": length})
