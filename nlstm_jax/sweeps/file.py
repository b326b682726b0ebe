"""A sweep file: Python that says what is to be tried."""

from pathlib import Path
from typing import NamedTuple

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.search import SearchSpec
from nlstm_jax.sweeps.space import Trial, TrialCollector, load_module


class Sweep(NamedTuple):
    """What a sweep file says.

    Attributes:
        trials: of `sweep(add)`.
        search: of `suggest(trial, add)`, which then has all trials.
        contrast: the groups, as `compare` calls them, whose difference is named in advance as the one to be judged.
    """

    trials: list[Trial]
    search: SearchSpec | None = None
    contrast: tuple[str, str] | None = None


def load(path: Path) -> Sweep:
    """Read a sweep file: `sweep(add)` adds trials, or `suggest(trial, add)` one of `TRIALS`; and maybe `CONTRAST`.

    Raises:
        ConfigError: no such file, neither function or both, no trial, or a mistake; the message names file and line.
    """
    module = load_module(path, "a sweep file")
    contrast = getattr(module, "CONTRAST", None)
    if contrast is not None and (len(contrast) != 2 or not all(isinstance(label, str) for label in contrast)):
        raise ConfigError(f"{path}: CONTRAST, the labels of two groups, expected, found {contrast!r}")
    sweep, suggest = (getattr(module, name, None) for name in ("sweep", "suggest"))
    if callable(sweep) == callable(suggest):
        found = "both" if callable(sweep) else "none"
        raise ConfigError(f"{path}: a function sweep(add), or one suggest(trial, add), expected, {found} found")
    if callable(sweep):
        space = TrialCollector(str(path))
        space.run(path, sweep)
        if not space.trials:
            raise ConfigError(f"{path}: sweep(add): at least one trial expected, none added")
        return Sweep(space.trials, contrast=contrast and tuple(contrast))
    assert callable(suggest)
    count = getattr(module, "TRIALS", None)
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"{path}: TRIALS, the number of trials, at least 1, expected, found {count!r}")
    options = {name.lower(): getattr(module, name) for name in ("SAMPLER", "PRUNER") if hasattr(module, name)}
    for name, value in options.items():
        if not callable(getattr(value, "sample_relative" if name == "sampler" else "prune", None)):
            raise ConfigError(f"{path}: {name.upper()}, a {name} of Optuna's, expected, found {value!r}")
    plan = SearchSpec(path, suggest, count, options)
    plan.examples(1)
    return Sweep([], plan, contrast and tuple(contrast))
