"""Helpers for tests of sweeps: a sweep file with 24 short trials, the metrics of trials, and waiting for a file."""

import json
import time
from pathlib import Path

CLOCK_METRICS = ("wall_seconds", "examples_per_second", "tokens_per_second")
WIDE = """
def sweep(add):
    for seed in range(4):
        for cell in ({"cell": "lstm"}, {"cell": "lstm", "layers": 2}, {"cell": "nlstm", "depth": 2}):
            for rate in (0.002, 0.01):
                add("configs/poems.py", smoke=True, seed=seed, settings={"optimizer.learning_rate": rate}, **cell)
"""


def metrics(workdir: Path) -> dict[str, list[dict]]:
    """Return the metrics of every trial of a sweep by the trial's name, without those that depend on time."""
    return {folder.name: _read_metrics(folder) for folder in sorted((workdir / "trials").iterdir())}


def _read_metrics(folder: Path) -> list[dict]:
    """Read the metrics of one run folder, without those that depend on time."""
    rows = []
    for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines():
        rows.append({key: value for key, value in json.loads(line).items() if key not in CLOCK_METRICS})
    return rows


def wait_for(file: Path, seconds: float = 60.0) -> None:
    """Wait until a file exists."""
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, f"{file} expected"
        time.sleep(0.02)
