"""Grouping of trials that one process can train together, because they share one compiled program."""

import json
from collections.abc import Sequence

from nlstm_jax import settings
from nlstm_jax.sweeps.space import Trial


def grouped(trials: Sequence[Trial], size: int) -> list[list[Trial]]:
    """Group trials whose configurations differ only in values that are not compiled into the program.

    Args:
        trials: The trials.
        size: The maximum number of trials in a group.

    Returns:
        The groups, in the order of their first trials.
    """
    groups: list[list[Trial]] = []
    latest_group: dict[str, list[Trial]] = {}
    for trial in trials:
        key = json.dumps(settings.compile_key(trial.config), sort_keys=True)
        group = latest_group.get(key)
        if group is None or len(group) >= size:
            group = []
            latest_group[key] = group
            groups.append(group)
        group.append(trial)
    return groups
