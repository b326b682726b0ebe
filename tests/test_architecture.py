"""The arrows of the house run one way: every import is read, and checked against who may know whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nlstm_jax"

# A room, and the rooms it may know; `errors`, `types` and `wording` are known to all but `cells`, which knows `types`
# alone.
MAY_KNOW = {
    "cells": set(),
    "unroll": {"cells"},
    "adapters": {"cells", "unroll"},
    "models": {"cells", "unroll", "adapters", "data", "settings"},
    "data": set(),
    "process": set(),
    "installation": set(),
    "command": {"installation", "process", "settings"},
    "tasks": {"cells", "data", "models", "process", "runs", "settings"},
    "runs": set(),
    "settings": {"cells", "runs"},
    "training": {"adapters", "cells", "models", "process", "runs", "settings", "tasks"},
    "sweeps": {"cells", "installation", "models", "runs", "settings", "tasks"},
    "analysis": {"runs"},
    "suite": {"analysis", "process", "runs", "settings", "sweeps", "training"},
    "probes": {"adapters", "analysis", "cells", "models", "runs", "settings", "tasks", "training", "unroll"},
}
FOR_ALL = {"errors", "types", "wording"}
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


UNPICKLERS = {"pickle", "_pickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
# Submitit and Ray start functions of ours by cloudpickle; it writes there, and reads nothing.
CLOUDPICKLE = {"sweeps/engines/slurm.py", "sweeps/engines/ray.py"}


def unsafe_readings(tree: ast.AST) -> list[str]:
    """Return the calls and imports by which a file of others could run code of its own."""
    unsafe = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            unsafe += [f"import {name}" for name in names if name.split(".")[0] in UNPICKLERS]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in ("eval", "exec", "compile", "__import__"):
            unsafe.append(called)
        if called.split(".")[-1] in ("Unpickler", "read_pickle", "unsafe_load", "full_load"):
            unsafe.append(called)
        if called.split(".")[0] in ("yaml", "cloudpickle") and called.split(".")[-1] in ("load", "loads", "load_all"):
            unsafe.append(called)
        if called == "torch.load" and options.get("weights_only") != "True":
            unsafe.append(called)
        if options.get("allow_pickle", "False") != "False" or options.get("shell", "False") != "False":
            unsafe.append(called)
    return unsafe


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from dill import loads",
        "eval(text)",
        "exec(text)",
        "yaml.load(file)",
        "cloudpickle.loads(text)",
        "pandas.read_pickle(path)",
        "torch.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_an_unsafe_reading_is_found(code: str) -> None:
    assert unsafe_readings(ast.parse(code))


def test_files_of_others_are_data_and_never_code() -> None:
    for folder in (PACKAGE, ROOT / "experiments"):
        for file in sorted(folder.rglob("*.py")):
            code = file.read_text("utf-8")
            assert unsafe_readings(ast.parse(code)) == [], file.relative_to(ROOT)
            name = file.relative_to(folder).as_posix()
            assert "cloudpickle" not in code or name in CLOUDPICKLE, file.relative_to(ROOT)
