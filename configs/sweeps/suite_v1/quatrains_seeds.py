"""The judging runs of `suite_v1` on quatrains: the best setting of each design, six fresh seeds, 24 runs.

The runs of quatrains_draws.py and quatrains_full.py must have ended.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/quatrains_seeds.py \\
        --workdir=sweeps/suite_v1/quatrains_seeds

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import CONTRAST, add_seeds
from .tasks import QUATRAINS

__all__ = ["CONTRAST", "sweep"]


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    add_seeds(add, QUATRAINS)
