"""The judging runs of `suite_v1` on monthly sales: the best setting of each design, six fresh seeds, 24 runs.

The runs of sales_draws.py and sales_full.py must have ended.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/sales_seeds.py --workdir=sweeps/suite_v1/sales_seeds

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import CONTRAST, add_seeds
from .tasks import SALES

__all__ = ["CONTRAST", "sweep"]


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    add_seeds(add, SALES)
