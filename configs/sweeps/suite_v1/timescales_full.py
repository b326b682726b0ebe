"""The full runs of `suite_v1` on the processes gates and feeds: the two best draws of each design, 16 runs.

The runs of timescales_draws.py must have ended.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/timescales_full.py \\
        --workdir=sweeps/suite_v1/timescales_full

About 0.4 core-hours: 16 × 4,000 steps of 0.025 seconds (see configs/timescales.py).

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import add_full
from .tasks import TIMESCALES


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    for suite in TIMESCALES:
        add_full(add, suite)
