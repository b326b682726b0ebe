"""What a sweep tries: a sweep file's trials, each a checked configuration."""

import contextlib
import hashlib
import importlib.util
import json
import re
import shlex
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nlstm_jax import cells, settings
from nlstm_jax.errors import ConfigError, UserError

_LONGEST = 120


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        config: resolved, plain JSON values.
        command: the options of `experiments.train` that mean the same.
    """

    name: str
    config: Mapping[str, Any]
    command: str


@dataclass
class TrialCollector:
    """Gathers trials; `add` is what a sweep file's function is given."""

    where: str
    trials: list[Trial] = field(default_factory=list)

    def add(
        self, config: str, *, settings: Mapping[str, Any] | None = None, name: str | None = None, **arguments: Any
    ) -> None:
        """Add a trial.

        Args:
            config: a config file, as in `--config`.
            settings: values of settings by dotted key, as in `--config.KEY=VALUE`.
            name: of the trial; None: made of its arguments and settings.
            arguments: of the config file, as after its colon; `smoke=True` for one without a value.

        Raises:
            ConfigError: an argument, key or value that does not serve, or a name that is taken.

        >>> space = TrialCollector("an example")
        >>> space.add("configs/poems.py", cell="lstm", seed=1, settings={"optimizer.learning_rate": 0.01})
        >>> space.trials[0].name
        'cell=lstm,seed=1,learning_rate=0.01'
        """
        given, changed = _argument(arguments), dict(settings or {})
        name = name or _name(arguments, changed)
        where = f"{self.where}: trial {name}"
        if not re.fullmatch(r"[\w=,.+-]+", name) or name.startswith("."):
            raise ConfigError(f"{where}: a name of letters, digits and =,.+-_ expected")
        if any(trial.name == name for trial in self.trials):
            raise ConfigError(f"{where}: added twice; name= tells trials apart whose arguments are the same")
        try:
            resolved = resolve(config, given, changed)
        except UserError as error:
            raise ConfigError(f"{where}: {error}") from None
        options = [f"--config={config}{given and ':'}{given}"]
        options += [f"--config.{key}={_spelled(value)}" for key, value in changed.items()]
        self.trials.append(Trial(name, resolved, shlex.join(options)))

    def run(self, path: Path, function: Callable[[Callable[..., None]], None]) -> None:
        """Call a function of a sweep file's with `add`; a mistake in it becomes a ConfigError that names its line."""
        with _mistakes_told(path):
            function(self.add)


def resolve(config: str, argument: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a config file with its argument, and settings changed, checked.

    Raises:
        ConfigError: a file, argument, key or value that does not serve.
    """
    made = load_module(Path(config), "a config file").get_config(argument)
    resolved: dict[str, Any] = json.loads(made.to_json())
    for key, value in changed.items():
        section, _, last = key.rpartition(".")
        (resolved.setdefault(section, {}) if section else resolved)[last] = _plain(value)
    settings.check(resolved)
    if resolved["eval"]["test_curve"]:
        raise ConfigError("config.eval.test_curve: False expected, as a sweep does not look at the test split")
    try:
        # Whatever its width will be.
        cells.build(resolved["cell"] | dict.fromkeys(cells.BUDGETS, 0), in_features=1)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from None
    return resolved


def load_module(path: Path, what: str) -> ModuleType:
    """A Python file as a module.

    Raises:
        ConfigError: there is none, or it cannot be run.
    """
    if not path.is_file():
        raise ConfigError(f"{what} expected, {path} is none")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{what} in Python expected, found {path}")
    module = importlib.util.module_from_spec(spec)
    with _mistakes_told(path):
        spec.loader.exec_module(module)
    return module


def log_uniform(random: np.random.Generator, low: float, high: float, digits: int = 3) -> float:
    """A draw whose logarithm is uniform, to so many significant digits, so that a trial's name says all of it.

    >>> log_uniform(np.random.default_rng(0), 1e-4, 1e-1)
    0.00814
    """
    return float(f"{np.exp(random.uniform(np.log(low), np.log(high))):.{digits}g}")


def _argument(arguments: Mapping[str, Any]) -> str:
    return ",".join(name if value is True else f"{name}={value}" for name, value in arguments.items())


def _name(arguments: Mapping[str, Any], changed: Mapping[str, Any]) -> str:
    """Arguments and settings, these by the last part of their key if that is unique; a digest if it gets too long."""
    last = [key.rpartition(".")[2] for key in changed]
    keys = [
        short if last.count(short) == 1 and short not in arguments else key
        for key, short in zip(changed, last, strict=True)
    ]
    settings = ",".join(f"{key}={_spelled(value)}" for key, value in zip(keys, changed.values(), strict=True))
    whole = re.sub(r"[^\w=,.+-]", "_", ",".join(filter(None, (_argument(arguments), settings)))) or "trial"
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[: _LONGEST - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _spelled(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, tuples as lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


@contextlib.contextmanager
def _mistakes_told(path: Path) -> Iterator[None]:
    """Whatever a file of the user's raises as a ConfigError that says what, and on which line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        place = f"{path}{f' line {line}' if line else ''}"
        raise ConfigError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}") from error
