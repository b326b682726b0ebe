"""The second panel of `suite_v1` on quatrains: LSTM of 1, 2, 3 layers and NLSTM of depth 2, 3 at one setting each.

    python -m experiments.sweep --sweep=configs/sweeps/suite_v1/quatrains_depth.py \\
        --workdir=sweeps/suite_v1/quatrains_depth

Nothing is tuned, and nothing is concluded from it. See docs/results/suite_v1/protocol.md.
"""

from collections.abc import Callable

from .tasks import QUATRAINS

CELLS = (
    {"cell": "lstm"},
    {"cell": "lstm", "layers": 2},
    {"cell": "lstm", "layers": 3},
    {"cell": "nlstm", "depth": 2},
    {"cell": "nlstm", "depth": 3},
)


def sweep(add: Callable[..., None]) -> None:
    """Add the trials."""
    settings = dict(QUATRAINS.settings)
    settings["train.epochs"] = QUATRAINS.full_epochs
    for cell in CELLS:
        add(QUATRAINS.config, **cell, model_params=QUATRAINS.model_params, settings=settings)
