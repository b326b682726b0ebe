"""Killed by SIGKILL and started again, a run ends with the metrics of one that was never disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
ALREADY_FINISHED = 7


def start(workdir: Path, devices: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.train", "--config=configs/poems.py:cell=nlstm,smoke"]
    command += [f"--workdir={workdir}", f"--cpu_devices={devices}", "--config.train.epochs=40.0"]
    command += ["--config.train.steps_per_call=3", "--config.eval.every_epochs=0.5"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(workdir: Path, devices: int) -> None:
    process = start(workdir, devices)
    _, errors = process.communicate(timeout=200)
    assert process.returncode in (0, ALREADY_FINISHED), errors.decode()


def wait_for(condition, process: subprocess.Popen, seconds: float = 60.0) -> bool:
    """Whether the condition came true before the process ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if condition():
            return True
        time.sleep(0.0005)
    return False


def writes_a_checkpoint(workdir: Path) -> bool:
    folder = workdir / "checkpoints"
    return folder.is_dir() and any("tmp" in name for name in os.listdir(folder))


def count_lines(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def metrics(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def summary(workdir: Path) -> dict:
    document = json.loads((workdir / "summary.json").read_text("utf-8"))
    return {key: value for key, value in document.items() if key not in CLOCK}


def compare_with_killed_run(tmp_path: Path, kills: int, devices: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(undisturbed, devices)
    draw = random.Random(2026 + devices)
    done, in_checkpoints = 0, 0
    for number in range(kills):
        lines = count_lines(killed)
        process = start(killed, devices)
        # A restart drops lines past its checkpoint, so that one more than before is new.
        moved = wait_for(lambda lines=lines: count_lines(killed) > lines, process)
        if number % 2:
            in_checkpoints += wait_for(lambda: writes_a_checkpoint(killed), process)
        else:
            time.sleep(draw.uniform(0, 0.15))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += moved
        process.communicate(timeout=60)
    assert done == kills, "every kill has to hit a run that has begun to train and has not ended"
    assert in_checkpoints == kills // 2, "every second kill has to hit a checkpoint being written"
    finish(killed, devices)
    assert metrics(killed) == metrics(undisturbed)
    assert len(metrics(killed)) == 2 * 80
    assert summary(killed) == summary(undisturbed)


def test_two_kills(tmp_path: Path) -> None:
    compare_with_killed_run(tmp_path, kills=2, devices=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("devices", [1, 2])
def test_ten_kills(tmp_path: Path, devices: int) -> None:
    compare_with_killed_run(tmp_path, kills=10, devices=devices)
