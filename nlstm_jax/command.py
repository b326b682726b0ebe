"""Helpers that all scripts share. A user's mistake becomes one line on stderr and an exit code."""

import argparse
import errno
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from nlstm_jax import installation, process, settings
from nlstm_jax.errors import ConfigError, InterruptedRunError, StorageError, UserError
from nlstm_jax.types import Config

flags.disclaim_key_flags()  # --help of a script shows the flags that it defines by `define_path`

_PARSE_ERRORS = (flags.Error, UserError, AttributeError, KeyError, SyntaxError, TypeError, ValueError)
"""The errors that absl and ml_collections raise for a mistake in a flag, a config file or a setting."""
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of the operating system for an open file whose disk is full or broken; they do not name the file."""


class _PathParser(flags.ArgumentParser):
    """A parser of a path, in which a `~` at the beginning stands for the user's home folder."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        """Return the path with the home folder in the place of `~`."""
        return os.path.expanduser(argument)


def define_path(
    name: str, default: str | None, help: str, *, required: bool = False
) -> flags.FlagHolder[str] | flags.FlagHolder[str | None]:
    """Define a flag that names a file or a folder. A `~` at its beginning stands for the user's home folder.

    Args:
        name: The name of the flag.
        default: The default value.
        help: The meaning of the flag.
        required: True if the flag must be given.
    """
    return flags.DEFINE(_PathParser(), name, default, help, required=required)


def run(main: Callable[[list[str]], None]) -> None:
    """Run a script's `main` by `absl.app.run`, and end with one line and an exit code for a user's mistake.

    The exit code of a mistake in the flags or the config file is 2.

    Args:
        main: The script's function of the command line, whose first item is the program's name.
    """

    def guarded(arguments: list[str]) -> None:
        process.silence_orbax()
        process.tune_malloc()
        process.enable_compilation_cache()
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            main(arguments)
        except UserError as error:
            _leave(error)
        except OSError as error:
            if error.filename is None and error.errno not in _STORAGE_ERRORS:
                raise
            path = error.filename or flags.FLAGS.flag_values_dict().get("workdir") or "a file"
            _leave(StorageError(f"{path}: cannot be read or written: {error.strerror}"))
        except KeyboardInterrupt:
            _leave(InterruptedRunError("interrupted"))

    script = sys.modules["__main__"]
    # --help prints the docstring and the flags.
    script.__doc__ = installation.help_as_installed(script.__doc__ or "")
    for name in flags.FLAGS:
        flags.FLAGS[name].help = installation.help_as_installed(flags.FLAGS[name].help or "")
    app.run(guarded, flags_parser=_parse)


def read_config(flag: flags.FlagHolder) -> ConfigDict:
    """Return the configuration of a config file flag.

    Raises:
        ConfigError: There is no such file.
    """
    try:
        flag.value.to_dict()
    except OSError:
        path = config_flags.get_config_filename(flags.FLAGS[flag.name]).partition(":")[0]
        raise ConfigError(f"--{flag.name}: a config file expected, {path} is none") from None
    return flag.value


def reject_positional(arguments: list[str]) -> None:
    """Raise a ConfigError if the command line has anything but flags."""
    if len(arguments) > 1:
        raise ConfigError(f"flags only expected, found {arguments[1]!r}")


def _parse(arguments: list[str]) -> list[str]:
    """Parse the flags, and return the remaining arguments. End the process for a mistake in the flags."""
    try:
        _check_one_config(arguments)
        arguments = _with_config_path(arguments)
        return flags.FLAGS(arguments)
    except SystemExit:
        # absl ends --help, and nothing else here, with 1.
        sys.exit(0)
    except _PARSE_ERRORS as error:
        # ml_collections wraps the error of a config file or a setting, and its message has several lines.
        for cause in _causes(error):
            if isinstance(cause, UserError):
                _leave(cause)
        _leave(ConfigError(_one_line(error, arguments)))


def _check_one_config(arguments: list[str]) -> None:
    """Raise a ConfigError if the command line names several config files, as their settings would be mixed."""
    configs = []
    for argument, following in itertools.pairwise([*arguments, ""]):
        match = re.fullmatch(r"--?config(?:=(.*))?", argument)
        if match:
            configs.append(following if match[1] is None else match[1])
    if len(configs) > 1:
        raise ConfigError(f"--config: one config file expected, found {' and '.join(configs)}")


def _with_config_path(arguments: list[str]) -> list[str]:
    """Return the arguments with a path in the place of the name of a built-in config file, and of a leading `~`."""
    changed = list(arguments)
    for index, argument in enumerate(arguments):
        match = re.fullmatch(r"(--?config)(?:=(.*))?", argument)
        if match and match[2]:
            changed[index] = f"{match[1]}={_config_path(match[2])}"
        elif match and match[2] is None and index + 1 < len(arguments):
            changed[index + 1] = _config_path(arguments[index + 1])
    return changed


def _config_path(text: str) -> str:
    """Return the value of the flag --config, a config file and its argument, with the path of the file."""
    name, colon, argument = text.partition(":")
    try:
        return f"{installation.find_config(name)}{colon}{argument}"
    except ConfigError as error:
        raise ConfigError(f"--config: {error}") from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then the error that caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException, arguments: list[str]) -> str:
    """Return the message of absl or ml_collections on one line, without escaped quotes, and with the setting's name.

    Args:
        error: The error that they raised.
        arguments: The command line.
    """
    text = " ".join(str(error).replace("\\n", " ").replace("\\'", "'").split())
    overrides = _config_overrides(arguments)

    if isinstance(error, AttributeError | KeyError):
        words = set(re.findall(r"\w+", text))
        for key, _ in overrides:
            if words.intersection(key.split(".")):
                return f"--{_explain_unknown_setting(key, arguments)}"
        return "--config: no such setting: " + text.replace("'", "")

    for key, value in overrides:
        if text.startswith(f"flag --config.{key}="):
            config = _base_config(arguments)
            message = config and settings.explain_invalid_value(key, value, config)
            if message:
                return message

    if isinstance(error, SyntaxError):
        text = f"--config: a config file in Python expected: {text}"
    if "ConfigDict" in text:
        flag, *_ = text.split(": ")
        return f"{flag}: a setting expected, found a section of them"
    return text


def _explain_unknown_setting(key: str, arguments: list[str]) -> str:
    """Return the message about a setting that the configuration of a command line lacks."""
    config = _base_config(arguments)
    if config is None:
        return f"config.{key}: no such setting"
    return settings.explain_unknown_setting(key, config)


def _base_config(arguments: list[str]) -> Config | None:
    """Return the configuration of the config file of a command line, without the settings that it changes.

    Returns:
        The configuration. None if the command line names no config file, or it cannot be loaded.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-config")
    path = parser.parse_known_args(arguments)[0].config
    try:
        return flags.FLAGS["config"].parser.parse(path).to_dict()
    except (*_PARSE_ERRORS, OSError):
        return None


def _config_overrides(arguments: list[str]) -> list[tuple[str, str]]:
    """Return the key and the value of every argument --config.KEY=VALUE."""
    matches = [re.fullmatch(r"--config\.([\w.]+)=(.*)", argument) for argument in arguments]
    return [(match[1], match[2]) for match in matches if match]


def _leave(error: UserError) -> NoReturn:
    """Print the error's message, and end the process with its exit code."""
    print(installation.as_installed(str(error)), file=sys.stderr, flush=True)
    sys.stdout.flush()
    process.shutdown_distributed()
    # The interpreter is not shut down in the ordinary way, as orbax would then print many lines about a checkpoint
    # that cannot be read.
    os._exit(error.exit_code)
