"""The published schedule of `suite_v1` on Penn Treebank's words: the small model of Zaremba et al., three seeds.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/ptb_published.py \\
        --workdir=sweeps/suite_v1/ptb_published

Nothing is tuned: all settings are those of `configs/ptb.py`. See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import data_path


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    for seed in range(3):
        add("ptb", cell="lstm", layers=2, seed=seed, settings={"data.path": data_path("ptb")})
