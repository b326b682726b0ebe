"""The code of a cell and a task of the user's own, which the commit of a run does not record."""

import hashlib
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

from nlstm_jax.types import Config


def describe_own_code(config: Config) -> dict[str, str]:
    """Return the SHA-256 of the file of each cell and task that is no part of this package, by its name.

    Args:
        config: The configuration of a run. A name of the form `package.module:attribute` is a user's own.
    """
    checksums = {}
    for name in (config["task"], config["cell"]["name"]):
        module_name, colon, _ = name.partition(":")
        if colon:
            path = inspect.getsourcefile(importlib.import_module(module_name))
            if path is not None:
                checksums[name] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return checksums


def explain_changes(recorded: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return a line for every file that differs from the one that a run was begun with.

    Args:
        recorded: The checksums in the run folder, from `describe_own_code`.
        current: The checksums of today.
    """
    changed = [name for name, checksum in recorded.items() if current.get(name, checksum) != checksum]
    return [f"going on with another version of the file of {name} than the run was begun with" for name in changed]
