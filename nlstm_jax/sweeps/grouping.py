"""Trials that one process can train at once, as one compiled program serves them."""

import json
from collections.abc import Sequence

from nlstm_jax import settings
from nlstm_jax.sweeps.space import Trial


def grouped(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Groups of at most `size` trials that differ in nothing which is compiled in, in the order of their first."""
    groups: list[list[Trial]] = []
    open_groups: dict[str, list[Trial]] = {}
    for trial in trials:
        program = json.dumps(settings.compile_key(trial.config), sort_keys=True)
        group = open_groups.get(program)
        if group is None or len(group) >= size:
            group = open_groups[program] = []
            groups.append(group)
        group.append(trial)
    return groups
