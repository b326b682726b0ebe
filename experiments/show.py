"""What a folder holds, without training: so far a run.

    python -m experiments.show run --workdir=runs/lstm

`run` checks the files, the order of the lines of metrics, and the digests of every checkpoint. It writes nothing. The
data are not read. A damaged checkpoint is named; the exit code is 5 if none is whole, and 3 if a file is damaged.
"""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from nlstm_jax import command
from nlstm_jax.errors import ConfigError
from nlstm_jax.training.inspection import inspect_run

_WORKDIR = command.define_path("workdir", None, "the run folder")


def main(arguments: list[str]) -> None:
    """Run the subcommand that the command line names."""
    _, *names = arguments
    if len(names) != 1 or names[0] not in _SUBCOMMANDS:
        accepted = ", ".join(_SUBCOMMANDS)
        raise ConfigError(f"one of {accepted} expected, found {' '.join(names) or 'none'}")
    _SUBCOMMANDS[names[0]]()


def _show_run() -> None:
    """Print what a run folder holds, and raise the error that keeps it from being used."""
    if _WORKDIR.value is None:
        raise ConfigError("--workdir: a run folder expected, found none")
    inspection = inspect_run(Path(_WORKDIR.value))
    console = Console()
    for line in inspection.lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if inspection.error is not None:
        raise inspection.error


_SUBCOMMANDS: dict[str, Callable[[], None]] = {"run": _show_run}


if __name__ == "__main__":
    command.run(main)
