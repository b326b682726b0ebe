"""The batch and the number of steps that serve a corpus of a user's poems, which may be small or have long poems.

`experiments.train` and sweeps apply one rule, `settings_for_short_run`, so that the same options are the same run.
"""

import functools
from collections.abc import Collection
from pathlib import Path

from nlstm_jax import settings
from nlstm_jax.tasks.poems import read_poems
from nlstm_jax.types import Config

TARGETS = 1_843_200
"""The number of symbols that a run of the demo trains on: 1,200 steps of 64 generated poems."""
MAX_STEPS = 1200
EVALUATIONS = 15
"""The number of evaluations in a run."""
DEMO_CELL_PARAMETERS = 60_760
"""The number of parameters of the demo's cells on a user's poems. The embedding's depends on their vocabulary."""

_BATCH_SIZE = 64
_TARGETS_PER_POEM = 24
"""The number of symbols to predict in a generated poem."""
_LENGTH_SETTINGS = ("batch_size", "epochs", "steps")
"""The settings of the section `train` that decide how long a run is."""


def settings_for_corpus(path: str) -> dict[str, int]:
    """Return the settings that train on a user's poems about as much as the demo trains on generated ones.

    A batch has about as many symbols as one of generated poems, and so has the whole run.

    Args:
        path: A file of poems or a folder of quatrain files.

    Returns:
        The values of settings by their keys, e.g. `train.steps`.

    Raises:
        DataError: The poems cannot be read, or there are too few.
    """
    poem_count, targets_per_poem = _measure_corpus(path)
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


def settings_for_demo(path: str) -> dict[str, int | str]:
    """Return the settings with which the demo trains on a user's poems about as much as on generated ones.

    Args:
        path: A file of poems or a folder of quatrain files; empty for generated poems, which need no settings.

    Returns:
        The values of settings by their keys, e.g. `train.steps`.

    Raises:
        DataError: See `settings_for_corpus`.
    """
    if not path:
        return {}
    return {
        "data.path": path,
        "model.parameters": 0,
        "cell.parameters": DEMO_CELL_PARAMETERS,
        **settings_for_corpus(path),
    }


def settings_for_short_run(config: Config, chosen: Collection[str]) -> dict[str, int]:
    """Return the settings that make a run as long as `settings_for_corpus` says, if it would be shorter.

    Runs of other tasks, of generated poems, and those that have their own batch or length stay as they are. A user who
    chooses the length alone still gets the batch, so that a run can be trained longer.

    Args:
        config: The configuration.
        chosen: The keys of the settings that the user has chosen. They are never changed.

    Returns:
        The values of the settings to change by their keys. Empty if the run stays as it is.

    Raises:
        DataError: See `settings_for_corpus`.
    """
    path = config["data"].get("path")
    if config["task"] != "poems" or not path or "train.batch_size" in chosen:
        return {}
    train = config["train"]
    defaults = settings.defaults("poems", "lstm").train
    undecided = [name for name in _LENGTH_SETTINGS if f"train.{name}" not in chosen]
    if any(train[name] != defaults[name] for name in undecided):
        return {}

    suggested = settings_for_corpus(path)
    poem_count, _ = _measure_corpus(path)
    steps = defaults.epochs * (poem_count // defaults.batch_size)
    if steps >= suggested["train.steps"]:
        return {}
    if "train.epochs" in chosen:
        del suggested["train.steps"]
    return {key: value for key, value in suggested.items() if key not in chosen}


def _measure_corpus(path: str) -> tuple[int, float]:
    """Return the number of training poems, and the mean number of symbols to predict in one."""
    root = Path(path).expanduser()
    files = [root, *root.glob("*")]
    state = [(file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists()]
    return _measure_unchanged_corpus(path, tuple(state))


@functools.lru_cache(maxsize=16)
def _measure_unchanged_corpus(path: str, state: tuple[tuple[int, int], ...]) -> tuple[int, float]:
    """Measure a corpus once, as all trials of a sweep may have it. `state` changes whenever its files do."""
    poems = read_poems(Path(path).expanduser()).splits["train"]
    # A line's end, or the poem's end, is to be predicted too.
    targets = sum(len(line) + 1 for poem in poems for line in poem)
    return len(poems), targets / len(poems)
