"""Run folders by name and by pattern."""

import glob
from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.files import CONFIG
from nlstm_jax.runs.reader import Completed, Run, as_it_stands, read_run


def find_runs(names: Sequence[str], with_defaults: Completed = as_it_stands) -> tuple[list[Run], list[str]]:
    """The runs in folders and patterns, each folder once.

    Args:
        names: folders, each of which has to be a run, and patterns such as `runs/*`, which pass over what is none.
        with_defaults: what is done to every configuration.

    Returns:
        The runs, and a note on every folder passed over.

    Raises:
        ConfigError: no names, or a pattern that finds no run.
        DataError: a folder that is no run, or one that cannot be read.
    """
    if not names:
        raise ConfigError("run folders or patterns expected, e.g. runs/lstm 'runs/nlstm*'; none found")
    folders: dict[Path, Path] = {}
    notes = []
    for name in names:
        if Path(name).exists() or not glob.has_magic(name):
            folders.setdefault(Path(name).resolve(), Path(name))
            continue
        found = [Path(path) for path in sorted(glob.glob(name, recursive=True))]
        runs = [path for path in found if (path / CONFIG).exists()]
        if not runs:
            raise ConfigError(f"a pattern that finds run folders expected, {name!r} finds none")
        notes += [f"skipped {path}: no run folder, it has no {CONFIG}" for path in found if path not in runs]
        for path in runs:
            folders.setdefault(path.resolve(), path)
    return [read_run(path, with_defaults) for path in folders.values()], notes
