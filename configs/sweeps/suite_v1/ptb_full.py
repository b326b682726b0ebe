"""The full runs of `suite_v1` on Penn Treebank's words: the two best draws of each design, 8 runs.

The runs of ptb_draws.py must have ended.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/ptb_full.py --workdir=sweeps/suite_v1/ptb_full

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import add_full
from .tasks import PTB


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    add_full(add, PTB)
