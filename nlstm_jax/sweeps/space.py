"""Trials of a sweep, each with a resolved and checked configuration, and loading of the user's Python files."""

import contextlib
import hashlib
import json
import re
import shlex
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

from nlstm_jax import cells, settings
from nlstm_jax.errors import ConfigError, DataError, UserError
from nlstm_jax.installation import find_config, import_file
from nlstm_jax.sweeps.budget import check_budget
from nlstm_jax.tasks.small_corpus import settings_for_short_run
from nlstm_jax.types import Config, JsonObject

_MAX_NAME_LENGTH = 120
_DIGEST_LENGTH = 8


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: The name of the trial and of its run folder.
        config: The resolved configuration, plain JSON values.
        command: The equivalent options of `experiments.train`.
    """

    name: str
    config: Config
    command: str


@dataclass
class TrialCollector:
    """A collector of trials; its method `add` is passed to the function of a sweep file.

    Attributes:
        origin: The file or place of the trials, as error messages name it.
        trials: The trials that have been added.
    """

    origin: str
    trials: list[Trial] = field(default_factory=list)

    def add(
        self,
        config: str,
        *,
        settings: Mapping[str, object] | None = None,
        name: str | None = None,
        **arguments: object,
    ) -> None:
        """Add a trial.

        Args:
            config: A config file, by its path or the name of a built-in one, as in `--config`.
            settings: The values of settings by dotted key, as in `--config.KEY=VALUE`.
            name: The name of the trial. None: the name is made of the arguments and settings.
            arguments: The arguments of the config file, as after its colon. `smoke=True` is one without a value.

        Raises:
            ConfigError: An argument, key or value is not valid, or the name is not valid or already used.

        >>> collector = TrialCollector("an example")
        >>> collector.add("configs/poems.py", cell="lstm", seed=1, settings={"optimizer.learning_rate": 0.01})
        >>> trial: Trial = collector.trials[0]
        >>> trial.name, trial.config["optimizer"]["learning_rate"]
        ('cell=lstm,seed=1,learning_rate=0.01', 0.01)
        """
        changes = dict(settings or {})
        name = name or _make_name(arguments, changes)
        prefix = f"{self.origin}: trial {name}"
        if not re.fullmatch(r"[\w=,.+-]+", name) or name.startswith("."):
            raise ConfigError(f"{prefix}: a name of letters, digits and =,.+-_ expected")
        if any(trial.name == name for trial in self.trials):
            raise ConfigError(f"{prefix}: added twice; name= tells trials apart whose arguments are the same")

        argument = _format_arguments(arguments)
        try:
            resolved = resolve(config, argument, changes)
        except UserError as error:
            raise ConfigError(f"{prefix}: {error}") from None

        config_option = f"--config={config}"
        if argument:
            config_option += f":{argument}"
        setting_options = [f"--config.{key}={_format_value(value)}" for key, value in changes.items()]
        self.trials.append(Trial(name, resolved, shlex.join([config_option, *setting_options])))

    def run(self, path: Path, function: Callable[[Callable[..., None]], None]) -> None:
        """Call a function of a sweep file with the method `add`.

        Args:
            path: The sweep file.
            function: The function.

        Raises:
            ConfigError: The function raised an error; the message names the file and the line.
        """
        with _errors_located_in(path):
            function(self.add)


def resolve(config: str, argument: str, changes: Mapping[str, object]) -> JsonObject:
    """Return the configuration of a config file with changed settings, after checking it.

    It is the one that `experiments.train` makes of the same options.

    Args:
        config: The path of the config file, or its name if it is built in.
        argument: The argument of the config file, the text after its colon.
        changes: The values of changed settings by dotted key.

    Raises:
        ConfigError: The file, the argument, a key or a value is not valid.
    """
    base_config = load_module(find_config(config), "a config file").get_config(argument)
    resolved: JsonObject = json.loads(base_config.to_json())
    _set_all(resolved, changes)
    settings.check(resolved)
    if resolved["eval"]["test_curve"]:
        raise ConfigError("config.eval.test_curve: False expected, as a sweep does not look at the test split")
    try:
        # The options of the cell are checked by building it, which needs no data if it has a width.
        cells.build(resolved["cell"] | dict.fromkeys(cells.BUDGETS, 0), in_features=1)
    except ValueError as error:
        raise ConfigError(f"config.{error}") from None

    # A trial whose data cannot be read here, as on a cluster's login node, says so itself if they are missing there.
    with contextlib.suppress(DataError):
        _set_all(resolved, settings_for_short_run(resolved, changes))
        check_budget(resolved)
    return resolved


def _set_all(config: JsonObject, changes: Mapping[str, object]) -> None:
    """Set the values of settings by dotted key."""
    for key, value in changes.items():
        section_name, _, setting_name = key.rpartition(".")
        section = config
        if section_name:
            section = config.setdefault(section_name, {})
        section[setting_name] = _to_plain(value)


def load_module(path: Path, what: str) -> ModuleType:
    """Load a Python file as a module.

    Args:
        path: The file.
        what: The name of the file's kind in the error message, e.g. "a config file".

    Raises:
        ConfigError: The file does not exist, or running it raises an error.
    """
    if not path.is_file():
        raise ConfigError(f"{what} expected, {path} is none")
    with _errors_located_in(path):
        return import_file(path)


def log_uniform(random: np.random.Generator, low: float, high: float, digits: int = 3) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`.

    The number is rounded to a few significant digits, so that the name of a trial can contain its exact value.

    Args:
        random: The random generator.
        low: The lower bound, positive.
        high: The upper bound.
        digits: The number of significant digits.

    >>> log_uniform(np.random.default_rng(0), 1e-4, 1e-1)
    0.00814
    """
    value = np.exp(random.uniform(np.log(low), np.log(high)))
    return float(f"{value:.{digits}g}")


def _format_arguments(arguments: Mapping[str, object]) -> str:
    """Return the arguments of a config file as the text after its colon, e.g. `smoke,cell=lstm`."""
    return ",".join(name if value is True else f"{name}={value}" for name, value in arguments.items())


def _make_name(arguments: Mapping[str, object], changes: Mapping[str, object]) -> str:
    """Return a trial name that is made of its arguments and its changed settings.

    A setting is named by the last part of its key if that is unique, else by the whole key. A name that would be too
    long is cut off and ends with a digest of the full name.
    """
    parts = []
    argument = _format_arguments(arguments)
    if argument:
        parts.append(argument)
    last_parts = [key.rpartition(".")[2] for key in changes]
    for key, last_part in zip(changes, last_parts, strict=True):
        is_unique = last_parts.count(last_part) == 1 and last_part not in arguments
        label = last_part if is_unique else key
        parts.append(f"{label}={_format_value(changes[key])}")

    name = re.sub(r"[^\w=,.+-]", "_", ",".join(parts)) or "trial"
    if len(name) <= _MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{name[: _MAX_NAME_LENGTH - _DIGEST_LENGTH - 1]}-{digest}"


def _format_value(value: object) -> str:
    """Return the value of a setting as text; the items of a list are separated by commas."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _to_plain(value: object) -> object:
    """Convert NumPy numbers and arrays to Python numbers and lists, and tuples to lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return value


@contextlib.contextmanager
def _errors_located_in(path: Path) -> Iterator[None]:
    """Convert every error that a user's file raises to a ConfigError that names the file, the line and the error."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        location = str(path)
        line = _error_line(error, path)
        if line:
            location += f" line {line}"
        reason = " ".join(str(error).split())
        raise ConfigError(f"{location}: {type(error).__name__}: {reason}") from error


def _error_line(error: BaseException, path: Path) -> int | None:
    """Return the number of the line of a file at which an error arose, or None if it is not known."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return frames[-1].lineno if frames else None
