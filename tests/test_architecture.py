"""The arrows of the house run one way: every import is read, and checked against who may know whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nlstm_jax"

# A room, and the rooms it may know; `errors` and `types` are known to all but `cells`, which knows `types` alone.
MAY_KNOW = {
    "cells": set(),
    "unroll": {"cells"},
    "adapters": {"cells", "unroll"},
    "models": {"cells", "unroll", "adapters", "settings"},
    "data": set(),
    "process": set(),
    "tasks": {"cells", "data", "models", "process", "runs", "settings"},
    "runs": set(),
    "settings": {"cells", "runs"},
    "shutdown": set(),
    "training": {"models", "tasks", "runs", "settings", "shutdown"},
    "sweeps": {"cells", "runs", "settings"},
    "analysis": {"runs"},
}
FOR_ALL = {"errors", "types"}
CELLS_MAY_IMPORT = {"jax", "nlstm_jax.cells", "nlstm_jax.types"}


def imports(file: Path) -> set[str]:
    """The full names of all modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: absolute imports only"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms() -> list[str]:
    return sorted({path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__pycache__"})


def files_of(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def test_every_room_has_its_arrows() -> None:
    without_code = {"__init__", "py"}
    assert set(rooms()) - without_code - FOR_ALL == set(MAY_KNOW)


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_only_what_it_may(room: str) -> None:
    allowed = MAY_KNOW[room] | FOR_ALL | {room}
    for file in files_of(room):
        known = {name.split(".")[1] for name in imports(file) if name.startswith("nlstm_jax.")}
        assert known <= allowed, f"{file.relative_to(ROOT)} knows {sorted(known - allowed)}"
        upward = {name for name in imports(file) if name.split(".")[0] in ("configs", "experiments", "benchmarks")}
        assert not upward, f"{file.relative_to(ROOT)} imports {sorted(upward)}"


def test_cells_import_jax_and_types_alone() -> None:
    import sys

    for file in files_of("cells"):
        for name in imports(file):
            top = name.split(".")[0]
            ours = any(name == known or name.startswith(f"{known}.") for known in CELLS_MAY_IMPORT)
            assert ours or top in sys.stdlib_module_names, f"{file.relative_to(ROOT)} imports {name}"


def test_there_is_no_circle() -> None:
    done: set[str] = set(FOR_ALL)
    waiting = dict(MAY_KNOW)
    while waiting:
        free = [room for room, known in waiting.items() if known <= done]
        assert free, f"a circle among {sorted(waiting)}"
        for room in free:
            done.add(room)
            del waiting[room]
