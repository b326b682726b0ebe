"""What every script shares: a user's mistake becomes one line on stderr and an exit code."""

import sys
from collections.abc import Callable

from absl import app, flags

from nlstm_jax.errors import UserError


def run(main: Callable[[list[str]], None]) -> None:
    """`absl.app.run`, with `UserError` as one line and its exit code, and flag mistakes as exit code 2."""

    def guarded(arguments: list[str]) -> None:
        try:
            main(arguments)
        except UserError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)

    app.run(guarded, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(arguments)
    except (flags.Error, UserError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
