"""What every script shares: a user's mistake becomes one line on stderr and an exit code."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from nlstm_jax import process, settings
from nlstm_jax.errors import ConfigError, InterruptedRunError, UserError


def run(main: Callable[[list[str]], None]) -> None:
    """`absl.app.run`, with a user's mistake as one line and its exit code: 2 for flags and config files."""

    def guarded(arguments: list[str]) -> None:
        process.silence_orbax()
        process.tune_malloc()
        process.enable_compilation_cache()
        try:
            main(arguments)
        except UserError as error:
            _leave(error)
        except KeyboardInterrupt:
            _leave(InterruptedRunError("interrupted"))

    app.run(guarded, flags_parser=_parse)


def config_of(flag: flags.FlagHolder) -> ConfigDict:
    """The value of a config file flag.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        flag.value.to_dict()
    except OSError:
        path = config_flags.get_config_filename(flags.FLAGS[flag.name]).partition(":")[0]
        raise ConfigError(f"--{flag.name}: a config file expected, {path} is none") from None
    return flag.value


def no_positional(arguments: list[str]) -> None:
    """Raise a ConfigError if there is anything but flags."""
    if len(arguments) > 1:
        raise ConfigError(f"flags only expected, found {arguments[1]!r}")


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except SystemExit:
        # absl ends --help, and nothing else here, with 1.
        sys.exit(0)
    except (flags.Error, UserError, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        # What a field of a configuration refuses comes as whatever ml_collections raises, over several lines.
        mistakes = [cause for cause in _causes(error) if isinstance(cause, UserError)]
        _leave(mistakes[0] if mistakes else ConfigError(_one_line(error, arguments)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException, arguments: list[str]) -> str:
    """What absl and ml_collections say over several lines, without their quotes of quotes; of which setting."""
    text = " ".join(str(error).replace("\\n", " ").replace("\\'", "'").split())
    given = [match.groups() for argument in arguments if (match := re.fullmatch(r"--config\.([\w.]+)=(.*)", argument))]
    if isinstance(error, AttributeError | KeyError):
        keys = [f".{key}" for key, _ in given if set(key.split(".")).intersection(re.findall(r"\w+", text))]
        return f"--config{''.join(keys[:1])}: no such setting: " + text.replace("'", "")
    for key, value in given:
        if text.startswith(f"flag --config.{key}=") and (refused := settings.explain_invalid_value(key, value)):
            return refused
    text = f"--config: a config file in Python expected: {text}" if isinstance(error, SyntaxError) else text
    return f"{text.split(': ')[0]}: a setting expected, found a section of them" if "ConfigDict" in text else text


def _leave(error: UserError) -> NoReturn:
    print(error, file=sys.stderr, flush=True)
    sys.stdout.flush()
    process.shutdown_distributed()
    # Not the interpreter's own end, in which orbax laments a checkpoint that cannot be read over many lines.
    os._exit(error.exit_code)
