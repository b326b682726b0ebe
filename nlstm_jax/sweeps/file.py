"""Loading of a sweep file, a Python file that defines trials or a search."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.search import SearchSpec
from nlstm_jax.sweeps.space import Trial, TrialCollector, load_module

_OPTUNA_METHODS = {"sampler": "sample_relative", "pruner": "prune"}
"""The method by which a sampler or a pruner of Optuna is recognized."""


class Sweep(NamedTuple):
    """The contents of a sweep file.

    Attributes:
        trials: The trials that `sweep(add)` adds. Empty for a search.
        search: The search of a file with `suggest(trial, add)`, which proposes all trials. None for fixed trials.
        contrast: The labels of two groups, as `compare` names them, whose difference is judged as planned in advance.
    """

    trials: list[Trial]
    search: SearchSpec | None = None
    contrast: tuple[str, str] | None = None


def load(path: Path) -> Sweep:
    """Load a sweep file.

    The file has either a function `sweep(add)`, which adds all trials, or a function `suggest(trial, add)`, which adds
    one trial of a search, and `TRIALS`, the number of trials. `CONTRAST` is optional.

    Raises:
        ConfigError: The file does not exist, has neither function or both, adds no trial, or contains a mistake. The
            message names the file, and the line of a mistake.
    """
    module = load_module(path, "a sweep file")
    contrast = _read_contrast(module, path)
    sweep = getattr(module, "sweep", None)
    suggest = getattr(module, "suggest", None)
    if callable(sweep) == callable(suggest):
        found = "both" if callable(sweep) else "none"
        raise ConfigError(f"{path}: a function sweep(add), or one suggest(trial, add), expected, {found} found")

    if callable(sweep):
        collector = TrialCollector(str(path))
        collector.run(path, sweep)
        if not collector.trials:
            raise ConfigError(f"{path}: sweep(add): at least one trial expected, none added")
        return Sweep(collector.trials, contrast=contrast)

    assert callable(suggest)
    search = _read_search(module, path, suggest)
    # Proposing one trial reveals a mistake in the file before the sweep begins.
    search.examples(1)
    return Sweep([], search, contrast)


def _read_contrast(module: ModuleType, path: Path) -> tuple[str, str] | None:
    """Return the two group labels of `CONTRAST`, or None if the file has none.

    Raises:
        ConfigError: `CONTRAST` is not two strings.
    """
    contrast = getattr(module, "CONTRAST", None)
    if contrast is None:
        return None
    if len(contrast) != 2 or not all(isinstance(label, str) for label in contrast):
        raise ConfigError(f"{path}: CONTRAST, the labels of two groups, expected, found {contrast!r}")
    first, second = contrast
    return first, second


def _read_search(module: ModuleType, path: Path, suggest: Callable[..., None]) -> SearchSpec:
    """Return the search that a sweep file describes with `TRIALS`, `SAMPLER` and `PRUNER`.

    Raises:
        ConfigError: One of these is not of the required kind.
    """
    trial_count = getattr(module, "TRIALS", None)
    if not isinstance(trial_count, int) or trial_count < 1:
        raise ConfigError(f"{path}: TRIALS, the number of trials, at least 1, expected, found {trial_count!r}")

    options: dict[str, object] = {}
    for name in _OPTUNA_METHODS:
        if hasattr(module, name.upper()):
            options[name] = getattr(module, name.upper())
    for name, value in options.items():
        if not callable(getattr(value, _OPTUNA_METHODS[name], None)):
            raise ConfigError(f"{path}: {name.upper()}, a {name} of Optuna's, expected, found {value!r}")
    return SearchSpec(path, suggest, trial_count, options)
