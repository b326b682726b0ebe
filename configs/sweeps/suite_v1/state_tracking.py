"""The runs of `suite_v1` on delayed recall and S5: every draw with every design, each draw with a seed, 160 runs.

The steps to solve are compared, task by task:

    python -m experiments.compare 'sweeps/suite_v1/state_tracking/trials/s5-*' --metric=token_accuracy --reach=0.99 \\
        --margin=0.5 --group_by=name --contrast='name=nlstm depth=2 s5 vs name=lstm layers=2 s5'

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/state_tracking.py \\
        --workdir=sweeps/suite_v1/state_tracking

At most 5.3 core-hours: 160 × 6,000 steps of 0.02 seconds (see configs/state_tracking.py).

See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .designs import add_solving
from .tasks import STATE_TRACKING


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    for suite in STATE_TRACKING:
        add_solving(add, suite)
