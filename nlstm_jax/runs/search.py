"""Search for run folders by name and by glob pattern."""

import glob
from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs.files import CONFIG
from nlstm_jax.runs.notes import read_notes
from nlstm_jax.runs.reader import ConfigTransform, Run, keep_unchanged, read_run


def find_runs(names: Sequence[str], with_defaults: ConfigTransform = keep_unchanged) -> tuple[list[Run], list[str]]:
    """Read the runs in the given folders and patterns, each folder once.

    Args:
        names: Folders and glob patterns such as `runs/*`. A folder must be a run. A pattern may match other paths;
            they are skipped.
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
    for name in names:
        if Path(name).exists() or not glob.has_magic(name):
            folders.setdefault(Path(name).resolve(), Path(name))
            continue
        matches = [Path(path) for path in sorted(glob.glob(name, recursive=True))]
        run_folders = [path for path in matches if (path / CONFIG).exists()]
        if not run_folders:
            raise ConfigError(f"a pattern that finds run folders expected, {name!r} finds none")
        notes += [f"skipped {path}: no run folder, it has no {CONFIG}" for path in matches if path not in run_folders]
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
