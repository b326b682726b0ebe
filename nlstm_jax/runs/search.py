"""Search for run folders by name and by glob pattern."""

import glob
from collections.abc import Sequence
from pathlib import Path

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs.files import CONFIG
from nlstm_jax.runs.reader import ConfigTransform, Run, keep_unchanged, read_run


def find_runs(names: Sequence[str], with_defaults: ConfigTransform = keep_unchanged) -> tuple[list[Run], list[str]]:
    """Read the runs in the given folders and patterns, each folder once.

    Args:
        names: Folders and glob patterns such as `runs/*`. A folder must be a run, or hold the runs `seed0`, `seed1`, …
            of `experiments.train --vmap_seeds`. A pattern may match other paths; they are skipped.
        with_defaults: The function that is applied to every configuration.

    Returns:
        The runs, and one note for every path that was skipped.

    Raises:
        ConfigError: There are no names, or a pattern matches no run.
        DataError: A folder is not a run, or a run cannot be read.
    """
    if not names:
        raise ConfigError("run folders or patterns expected, e.g. runs/lstm 'runs/nlstm*'; none found")

    folders: dict[Path, Path] = {}
    notes = []
    for name in names:
        if Path(name).exists() or not glob.has_magic(name):
            # A path that is no run is read all the same, so that the error names it.
            runs = _runs_in(Path(name)) or [Path(name)]
        else:
            runs = []
            for match in sorted(glob.glob(name, recursive=True)):
                found = _runs_in(Path(match))
                runs += found
                if not found:
                    notes.append(f"skipped {match}: no run folder, it has no {CONFIG}")
            if not runs:
                raise ConfigError(f"a pattern that finds run folders expected, {name!r} finds none")
        for path in runs:
            folders.setdefault(path.resolve(), path)

    return [read_run(path, with_defaults) for path in folders.values()], notes


def _runs_in(path: Path) -> list[Path]:
    """Return the folder itself if it is a run, otherwise the runs `seed0`, `seed1`, … in it."""
    if (path / CONFIG).exists():
        return [path]
    return [config.parent for config in sorted(path.glob(f"seed*/{CONFIG}"))]
