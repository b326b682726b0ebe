"""The batch and the number of steps that serve a corpus of a user's poems, which may be small or have long poems."""

import copy

from ml_collections import ConfigDict

from nlstm_jax import settings
from nlstm_jax.tasks.build import build

TARGETS = 1_843_200
"""The number of symbols that a run of the demo trains on: 1,200 steps of 64 generated poems."""
MAX_STEPS = 1200
EVALUATIONS = 15
"""The number of evaluations in a run."""

_BATCH_SIZE = 64
_TARGETS_PER_POEM = 24
"""The number of symbols to predict in a generated poem."""
_LENGTH_SETTINGS = ("train.batch_size", "train.epochs", "train.steps")
"""The settings that decide how long a run is."""


def settings_for_corpus(config: ConfigDict) -> dict[str, int]:
    """Return the settings that train on the poems of `data.path` about as much as the demo trains on generated ones.

    A batch has about as many symbols as one of generated poems, and so has the whole run.

    Returns:
        The values of settings by their keys, e.g. `train.steps`.

    Raises:
        DataError: The poems cannot be read, or there are too few.
    """
    return _suggest(*_measure_corpus(config))


def _suggest(poem_count: int, targets_per_poem: float) -> dict[str, int]:
    """Return the settings for a corpus of this size, see `settings_for_corpus`."""
    batch_size = round(_BATCH_SIZE * _TARGETS_PER_POEM / targets_per_poem)
    batch_size = max(8, min(_BATCH_SIZE, batch_size))
    batch_size = min(poem_count, batch_size)
    steps = round(TARGETS / (batch_size * targets_per_poem))
    steps = max(150, min(MAX_STEPS, steps))
    return {
        "train.batch_size": batch_size,
        "train.steps": steps,
        "eval.batch_size": batch_size,
        "eval.every_steps": steps // EVALUATIONS,
    }


def lengthen_short_run(config: ConfigDict, chosen: set[str]) -> ConfigDict:
    """Return a configuration whose run is as long as `settings_for_corpus` says, if it would be shorter.

    Configurations of other tasks, of generated poems, and those that have their own batch or length stay as they are.
    A user who chooses the length alone still gets the batch, so that a run can be trained longer.

    Args:
        config: The configuration.
        chosen: The keys of the settings that the user has chosen.

    Raises:
        DataError: See `settings_for_corpus`.
    """
    if config.task != "poems" or not config.data.path or "train.batch_size" in chosen:
        return config
    defaults = settings.defaults("poems", "lstm").train
    names = [key.removeprefix("train.") for key in _LENGTH_SETTINGS if key not in chosen]
    if any(config.train[name] != defaults[name] for name in names):
        return config

    poem_count, targets_per_poem = _measure_corpus(config)
    suggested = _suggest(poem_count, targets_per_poem)
    steps = defaults.epochs * (poem_count // defaults.batch_size)
    if steps >= suggested["train.steps"]:
        return config
    if "train.epochs" in chosen:
        del suggested["train.steps"]
    lengthened = copy.deepcopy(config)
    lengthened.update_from_flattened_dict({key: value for key, value in suggested.items() if key not in chosen})
    return lengthened


def _measure_corpus(config: ConfigDict) -> tuple[int, float]:
    """Return the number of training poems, and the mean number of symbols to predict in one."""
    single = copy.deepcopy(config)
    single.train.batch_size = 1
    task = build(single.to_dict())
    return task.splits["train"].size, task.targets_per_example
