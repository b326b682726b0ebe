"""Trials from the command line: all combinations of lists of values, each for several seeds."""

import ast
import itertools
import re
from collections.abc import Collection, Sequence

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.space import Trial, TrialCollector
from nlstm_jax.types import Config


def plan_grid(config: str, lists: Sequence[str], seeds: str = "", settings: Config | None = None) -> list[Trial]:
    """Return one trial for every combination of values. The first list varies slowest, the seed fastest.

    Args:
        config: A config file and its arguments, as in `--config` of `experiments.train`.
        lists: The lists, each as `NAME=VALUE,VALUE`. A name with a dot is a setting, any other name is an argument of
            the config file. A value is text, or a number or tuple as Python writes it, e.g. `(0.1,0.2)`.
        seeds: The values of the argument `seed`, as `FIRST..LAST` or `SEED,SEED`. Empty: the config's own seed.
        settings: The values of settings that all trials share, by dotted key.

    Raises:
        ConfigError: A list is malformed, a name is used twice, or a trial is not valid.

    >>> trials = plan_grid("configs/poems.py:smoke", ["cell=lstm,gru", "optimizer.learning_rate=1e-3,3e-3"], "0..1")
    >>> [len(trials), trials[0].name]
    [8, 'smoke,cell=lstm,seed=0,learning_rate=0.001']
    """
    path, arguments = _split_config(config)
    choices: dict[str, Sequence[object]] = {}
    for text in lists:
        name, values = _parse_list(text)
        _refuse_repeated(f"--grid={text}", name, [*arguments, *(settings or {}), *choices])
        choices[name] = values
    if seeds:
        _refuse_repeated(f"--seeds={seeds}", "seed", [*arguments, *choices])
        choices["seed"] = _parse_seeds(seeds)

    collector = TrialCollector("--config")
    for combination in itertools.product(*choices.values()):
        chosen = dict(zip(choices, combination, strict=True))
        chosen_settings = {name: value for name, value in chosen.items() if "." in name}
        chosen_arguments = {name: value for name, value in chosen.items() if "." not in name}
        _add(collector, path, {**arguments, **chosen_arguments}, {**(settings or {}), **chosen_settings})
    return collector.trials


def _add(collector: TrialCollector, path: str, arguments: Config, settings: Config) -> None:
    """Add a trial. An argument that the method `add` has for itself is refused."""
    for name in ("config", "settings", "name"):
        if name in arguments:
            raise ConfigError(f"--grid={name}: an argument of the config file, or a dotted setting, expected")
    collector.add(path, settings=settings, **arguments)


def _split_config(config: str) -> tuple[str, dict[str, object]]:
    """Return the path of the config file, and its arguments by name. An argument without a value is True."""
    path, _, argument = config.partition(":")
    arguments: dict[str, object] = {}
    for part in filter(None, argument.split(",")):
        name, equals, value = part.partition("=")
        _refuse_repeated(f"--config={config}", name, arguments)
        arguments[name] = value if equals else True
    return path, arguments


def _parse_list(text: str) -> tuple[str, list[object]]:
    """Return the name and the values of a list.

    Raises:
        ConfigError: The text is not of the form `NAME=VALUE,VALUE`, or a value occurs twice.
    """
    name, _, values_text = text.partition("=")
    # A comma within parentheses or brackets belongs to a value.
    parts = [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", values_text)]
    if not re.fullmatch(r"\w+(\.\w+)*", name) or not all(parts):
        raise ConfigError(f"--grid={text}: NAME=VALUE,VALUE expected, e.g. optimizer.learning_rate=1e-3,3e-3")
    values = [_parse_value(part) for part in parts]
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ConfigError(f"--grid={text}: different values expected, found {parts[index]} twice")
    return name, values


def _parse_value(text: str) -> object:
    """Return the number, truth value, text or tuple that a text stands for. Other texts are returned as they are."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _parse_seeds(text: str) -> list[int]:
    """Return the seeds of a range `FIRST..LAST`, both included, or of a list `SEED,SEED`.

    Raises:
        ConfigError: The text is neither, the range is empty, or a seed occurs twice.
    """
    seeds: list[int] = []
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if bounds:
        seeds = list(range(int(bounds[1]), int(bounds[2]) + 1))
    elif re.fullmatch(r"\d+(,\d+)+", text):
        seeds = [int(part) for part in text.split(",")]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds={text}: a range such as 0..2, or different seeds such as 0,1,5, expected")
    return seeds


def _refuse_repeated(option: str, name: str, names: Collection[str]) -> None:
    """Check that a name has not been used before.

    Raises:
        ConfigError: The name is among `names`.
    """
    if name in names:
        raise ConfigError(f"{option}: one place for the values of {name} expected, found two")
