"""The short runs of `suite_v1` on Penn Treebank's words: every draw with every design, 32 runs.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/ptb_draws.py --workdir=sweeps/suite_v1/ptb_draws

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import add_draws
from .tasks import PTB


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    add_draws(add, PTB)
