"""The whole way of `suite_v1` in small: its runs, its pages, and the documented row of a cell from outside."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
EXTENDING = (ROOT / "docs" / "extending.md").read_text("utf-8")
CELL = re.search(r"```python\n(# my_package/cells.py\n.*?)```", EXTENDING, re.DOTALL)[1]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Return a folder with the package that docs/extending.md describes."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "cells.py").write_text(CELL, "utf-8")
    return folder


def script(name: str, *options: object, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package or ""), "NLSTM_JAX_DATA": "/nowhere"}
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


def test_the_tiny_suite_is_trained_written_and_joined_by_the_documented_cell(package, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    done = script("answer", "--smoke", f"--out={tmp_path}", "--slots=2")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "suite_v1"
    assert "Tasks that have run, 1 of 1: [gates](gates/answer.md)." in (folder / "answer.md").read_text("utf-8")
    contrasts = json.loads((folder / "answer.json").read_text("utf-8"))["contrasts"]
    assert [(row["first"], row["second"]) for row in contrasts] == [("N", "S"), ("N", "W"), ("N", "D")]
    for picture in (folder / "answer.png", folder / "gates" / "answer.png", folder / "gates" / "compare.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")

    options = ["--cell=my_package.cells:MinGRU", f"--workdir={tmp_path / 'row'}", "--smoke", f"--results={folder}"]
    done = script("suite", *options, package=package)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "row" / "row" / "row.md").read_text("utf-8")
    assert page in done.stdout
    for design in "WSND":
        assert f"| gates | MinGRU − {design} | " in page
    # The runs have ended, so the same command trains nothing, and counts no second look at the test split.
    again = script("suite", *options, package=package)
    assert (again.returncode, again.stderr) == (0, "")
    assert "running" not in again.stdout
    assert page in again.stdout
    for summary in (tmp_path / "row" / "timescales_seeds" / "trials").glob("*/summary.json"):
        assert json.loads(summary.read_text("utf-8"))["test_looks"] == 1


def test_a_mistake_is_one_line(package, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    cell = "--cell=my_package.cells:MinGRU"
    workdir = f"--workdir={tmp_path / 'none'}"
    cases = [
        (
            ("suite", cell, workdir, "--tasks=sales"),
            "sales: left out, as its data are missing: a folder /nowhere/",
        ),
        (("suite", cell, workdir, "--tasks=words"), "--tasks: one of ptb, quatrains, "),
        (("suite", cell, workdir, "--fast", "--tasks=sales"), "--fast or --tasks: one of them expected, found both"),
        (("suite", "--cell=my_package.cells:Mine", workdir, "--smoke"), "cell: 'my_package.cells:Mine' cannot be"),
        (("answer", "--smoke"), "--smoke: --out, a folder for its results, expected, found none"),
    ]
    for command, message in cases:
        done = script(*command, package=package)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_dry_run_lists_the_runs_and_their_hours(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    done = script("answer", "--run", "--dry_run", "--tasks=gates,s5", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    gates, s5 = done.stdout.splitlines()
    assert gates.startswith("gates: runs 80 in timescales_draws, 8 in timescales_full, 24 in timescales_seeds; ")
    assert gates.endswith("; about 0.7 hours of one core, by the protocol's estimate")
    assert s5.startswith("s5: runs 80 in state_tracking; about 2.0 hours of one core")
    assert not list(tmp_path.iterdir())
