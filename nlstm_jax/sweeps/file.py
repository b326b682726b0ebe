"""A sweep file: Python that says what is to be tried."""

from pathlib import Path

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.search import Plan
from nlstm_jax.sweeps.space import Space, Trial, load_module


def load(path: Path) -> list[Trial] | Plan:
    """What a sweep file says: trials by `sweep(add)`, or a search by `suggest(trial, add)` and `TRIALS`.

    Raises:
        ConfigError: no such file, neither function or both, no trial, or a mistake; the message names file and line.
    """
    module = load_module(path, "a sweep file")
    sweep, suggest = (getattr(module, name, None) for name in ("sweep", "suggest"))
    if callable(sweep) == callable(suggest):
        found = "both" if callable(sweep) else "none"
        raise ConfigError(f"{path}: a function sweep(add), or one suggest(trial, add), expected, {found} found")
    if callable(sweep):
        space = Space(str(path))
        space.run(path, sweep)
        if not space.trials:
            raise ConfigError(f"{path}: sweep(add): at least one trial expected, none added")
        return space.trials
    assert callable(suggest)
    count = getattr(module, "TRIALS", None)
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"{path}: TRIALS, the number of trials, at least 1, expected, found {count!r}")
    options = {name.lower(): getattr(module, name) for name in ("SAMPLER", "PRUNER") if hasattr(module, name)}
    plan = Plan(path, suggest, count, options)
    plan.examples(1)
    return plan
