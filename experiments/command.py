"""Helpers that all scripts share. A user's mistake becomes one line on stderr and an exit code."""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from nlstm_jax import process, settings
from nlstm_jax.errors import ConfigError, InterruptedRunError, StorageError, UserError

_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of the operating system for an open file whose disk is full or broken; they do not name the file."""


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
        return flags.FLAGS(arguments)
    except SystemExit:
        # absl ends --help, and nothing else here, with 1.
        sys.exit(0)
    except (flags.Error, UserError, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        # ml_collections wraps the error of a config file or a setting, and its message has several lines.
        for cause in _causes(error):
            if isinstance(cause, UserError):
                _leave(cause)
        _leave(ConfigError(_one_line(error, arguments)))


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
                return f"--{settings.explain_unknown_setting(key)}"
        return "--config: no such setting: " + text.replace("'", "")

    for key, value in overrides:
        if text.startswith(f"flag --config.{key}="):
            message = settings.explain_invalid_value(key, value)
            if message:
                return message

    if isinstance(error, SyntaxError):
        text = f"--config: a config file in Python expected: {text}"
    if "ConfigDict" in text:
        flag, *_ = text.split(": ")
        return f"{flag}: a setting expected, found a section of them"
    return text


def _config_overrides(arguments: list[str]) -> list[tuple[str, str]]:
    """Return the key and the value of every argument --config.KEY=VALUE."""
    matches = [re.fullmatch(r"--config\.([\w.]+)=(.*)", argument) for argument in arguments]
    return [(match[1], match[2]) for match in matches if match]


def _leave(error: UserError) -> NoReturn:
    """Print the error's message, and end the process with its exit code."""
    print(error, file=sys.stderr, flush=True)
    sys.stdout.flush()
    process.shutdown_distributed()
    # The interpreter is not shut down in the ordinary way, as orbax would then print many lines about a checkpoint
    # that cannot be read.
    os._exit(error.exit_code)
