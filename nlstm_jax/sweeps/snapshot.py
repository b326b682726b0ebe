"""A copy of the code, made when a sweep begins, so that later edits do not affect trials that still wait."""

import shutil
from collections.abc import Collection
from pathlib import Path

from nlstm_jax.runs import describe_environment
from nlstm_jax.runs.environment import SNAPSHOT
from nlstm_jax.runs.files import write_json

_NOT_COPIED = {"tests", "benchmarks", "docs", "setup.py"}
"""The names of packages and modules that trials do not need."""


def copy_code(root: Path, target: Path, names: Collection[str] = ()) -> None:
    """Copy packages and modules of a checkout or an installation, and record the commit and the uncommitted diff.

    Args:
        root: The checkout, or the folder of an installation.
        target: The folder of the copy, which must not exist yet. It appears complete or not at all.
        names: The names of the packages to copy. If empty, all are copied.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    for entry in sorted(root.iterdir()):
        if entry.name in _NOT_COPIED or (names and entry.name not in names):
            continue
        if entry.is_file() and entry.suffix == ".py":
            shutil.copy2(entry, partial)
        elif entry.name.isidentifier() and any(entry.glob("*.py")):
            # A package needs no `__init__.py`.
            shutil.copytree(entry, partial / entry.name, ignore=shutil.ignore_patterns("__pycache__"))

    environment = describe_environment([], {})
    write_json(partial / SNAPSHOT, {key: environment[key] for key in ("commit", "uncommitted_diff", "git_error")})
    partial.rename(target)
