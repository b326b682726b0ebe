"""What tests of sweeps share: a sweep of 24 short trials, what trials have measured, and waiting for a file."""

import json
import time
from pathlib import Path

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
WIDE = """
def sweep(add):
    for seed in range(4):
        for cell in ({"cell": "lstm"}, {"cell": "lstm", "layers": 2}, {"cell": "nlstm", "depth": 2}):
            for rate in (0.002, 0.01):
                add("configs/poems.py", smoke=True, seed=seed, settings={"optimizer.learning_rate": rate}, **cell)
"""


def metrics(workdir: Path) -> dict[str, list[dict]]:
    """What every trial of a sweep has measured, but for clocks."""
    return {
        folder.name: [
            {key: value for key, value in json.loads(line).items() if key not in CLOCK}
            for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()
        ]
        for folder in sorted((workdir / "trials").iterdir())
    }


def wait_for(file: Path, seconds: float = 60.0) -> None:
    """Until there is the file."""
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end, f"{file} expected"
        time.sleep(0.02)
