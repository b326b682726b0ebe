"""The judging runs of `suite_v1` on gates and feeds: the best setting of each design, six fresh seeds, 48 runs.

The runs of timescales_draws.py and timescales_full.py must have ended. The two processes are compared one by one:

    python -m experiments.compare 'sweeps/suite_v1/timescales_seeds/trials/gates-*' --metric=excess --margin=0.01
    python -m experiments.compare 'sweeps/suite_v1/timescales_seeds/trials/feeds-*' --metric=excess --margin=0.01 \\
        --contrast='nlstm depth=2 feeds vs lstm layers=2 feeds'

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/timescales_seeds.py \\
        --workdir=sweeps/suite_v1/timescales_seeds

About 1.3 core-hours: 48 × 4,000 steps of 0.025 seconds (see configs/timescales.py).

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import CONTRAST, add_seeds
from .tasks import TIMESCALES

__all__ = ["CONTRAST", "sweep"]


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    for suite in TIMESCALES:
        add_seeds(add, suite)
