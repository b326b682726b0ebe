"""A search of an earlier version, interrupted in its second trial, is read, compared and continued.

`tests/fixtures/search_of_0.1.tar.gz` holds the folder that version 0.1.0 (commit 19e7ae1) left: one trial finished,
and one interrupted; the sweep file; and the metrics of the same search undisturbed. The folder has moved since.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from requirements import requires

from nlstm_jax import settings
from nlstm_jax.analysis.comparison import compare
from nlstm_jax.runs import read_run

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "tests" / "fixtures" / "search_of_0.1.tar.gz"
CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")


@pytest.fixture
def earlier(tmp_path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def trials(folder: Path) -> list[Path]:
    return sorted((folder / "search" / "trials").iterdir())


def rows(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def test_its_trials_are_read_and_compared(earlier):
    runs = [read_run(path, settings.with_defaults) for path in trials(earlier)]
    assert [run.summary["status"] for run in runs] == ["finished", "interrupted"]
    comparison = compare(runs)
    assert len(comparison.groups) == 2
    assert not comparison.incomparable
    best = min(row["log_loss"] for row in rows(earlier / "0000_undisturbed.jsonl") if row["split"] == "valid")
    assert comparison.groups[0].bests("log_loss")[0].valid == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
def test_it_goes_on_and_ends_as_undisturbed(earlier):
    requires("optuna")
    command = [sys.executable, "-m", "experiments.sweep", "--slots=1"]
    command += [f"--sweep={earlier / 'rates.py'}", f"--workdir={earlier / 'search'}"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NPROC": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folders = trials(earlier)
    assert [path.name[:4] for path in folders] == ["0000", "0001"]
    for path in folders:
        assert read_run(path).summary["status"] == "finished"
        found = rows(path / "metrics.jsonl")
        expected = rows(earlier / f"{path.name[:4]}_undisturbed.jsonl")
        assert len(found) == len(expected)
        for row, other in zip(found, expected, strict=True):
            for key, value in other.items():
                assert row[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), key
