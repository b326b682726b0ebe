"""The short runs of `suite_v1` on the processes gates and feeds: every draw with every design, 160 runs.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/timescales_draws.py \\
        --workdir=sweeps/suite_v1/timescales_draws

About 1.7 core-hours: 160 × 1,500 steps of 0.025 seconds (see configs/timescales.py).

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import add_draws
from .tasks import TIMESCALES


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    for suite in TIMESCALES:
        add_draws(add, suite)
