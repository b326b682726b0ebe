"""Search for run folders by name and by glob pattern."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs.files import CONFIG
from nlstm_jax.runs.notes import read_notes
from nlstm_jax.runs.reader import ConfigTransform, Run, keep_unchanged, read_run


def find_runs(names: Sequence[str], with_defaults: ConfigTransform = keep_unchanged) -> tuple[list[Run], list[str]]:
    """Read the runs in the given folders and patterns, each folder once.

    Args:
        names: Folders and glob patterns such as `runs/*` or `~/runs/*`. A folder must be a run, or hold the runs
            `seed0`, `seed1`, … of `experiments.train --vmap_seeds`. A pattern may match other paths; they are skipped.
        with_defaults: The function that is applied to every configuration.

    Returns:
        The runs, and one note for every path that was skipped: it is no run, or the run is damaged.

    Raises:
        ConfigError: There are no names, or a pattern matches no run.
        DataError: A named folder is not a run, or none of the runs can be read.
    """
    if not names:
        raise ConfigError("run folders or patterns expected, e.g. runs/lstm 'runs/nlstm*'; none found")

    folders: dict[Path, Path] = {}
    notes: list[str] = []
    for name in map(os.path.expanduser, names):
        if Path(name).exists() or not glob.has_magic(name):
            # A path that is no run is read all the same, so that the error names it.
            run_folders = _runs_in(Path(name)) or [Path(name)]
        else:
            run_folders = []
            for match in sorted(glob.glob(name, recursive=True)):
                found = _runs_in(Path(match))
                run_folders += found
                if not found:
                    notes.append(f"skipped {match}: no run folder, it has no {CONFIG}")
            if not run_folders:
                raise ConfigError(f"a pattern that finds run folders expected, {name!r} finds none")
        for path in run_folders:
            folders.setdefault(path.resolve(), path)

    runs = []
    errors = []
    for path in folders.values():
        try:
            run = read_run(path, with_defaults)
            read_notes(path)
            runs.append(run)
        except DataError as error:
            if not (path / CONFIG).exists():
                raise
            errors.append(error)
    if errors and not runs:
        raise errors[0]
    return runs, [*notes, *(f"skipped a damaged run: {error}" for error in errors)]


def _runs_in(path: Path) -> list[Path]:
    """Return the folder itself if it is a run, otherwise the runs `seed0`, `seed1`, … in it."""
    if (path / CONFIG).exists():
        return [path]
    return [config.parent for config in sorted(path.glob(f"seed*/{CONFIG}"))]
