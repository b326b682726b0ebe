"""The code of a sweep as it was when the sweep was begun: later edits do not reach trials that wait."""

import shutil
from pathlib import Path

from nlstm_jax.runs import describe_environment
from nlstm_jax.runs.environment import SNAPSHOT
from nlstm_jax.runs.files import write_json

_NOT_RUN = {"tests", "benchmarks", "docs"}


def take(root: Path, target: Path) -> None:
    """Copy the packages and modules that lie in a folder, and what is known of their commit.

    Args:
        root: the checkout.
        target: a folder that is not there yet; it appears with all that is in it, or not at all.
    """
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for entry in sorted(root.iterdir()):
        if entry.is_file() and entry.suffix == ".py":
            shutil.copy2(entry, partial)
        elif (entry / "__init__.py").is_file() and entry.name not in _NOT_RUN:
            shutil.copytree(entry, partial / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = describe_environment([], {})
    write_json(partial / SNAPSHOT, {key: environment[key] for key in ("commit", "uncommitted_diff")})
    partial.rename(target)
