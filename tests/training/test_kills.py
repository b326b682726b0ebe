"""Killed by SIGKILL and started again, a run ends with the metrics of one that was never disturbed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from processes import Process

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
ALREADY_FINISHED = 7


def command(workdir: Path, devices: int, epochs: int) -> list[str]:
    options = [f"--workdir={workdir}", f"--cpu_devices={devices}", f"--config.train.epochs={epochs}.0"]
    options += ["--config.train.steps_per_call=3", "--config.eval.every_epochs=0.5"]
    return ["train", "--config=configs/poems.py:cell=nlstm,smoke", *options]


def wait_for(condition, process: Process, seconds: float = 60.0) -> bool:
    """Whether the condition came true before the process ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if condition():
            return True
        time.sleep(0.0005)
    return False


def writes_a_checkpoint(workdir: Path) -> bool:
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(name.startswith("saving-") for name in os.listdir(folder))


def count_lines(workdir: Path) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def metrics(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def summary(workdir: Path) -> dict:
    document = json.loads((workdir / "summary.json").read_text("utf-8"))
    return {key: value for key, value in document.items() if key not in CLOCK}


def compare_with_killed_run(start_script, tmp_path: Path, kills: int, devices: int, epochs: int) -> None:
    def finish(workdir: Path) -> None:
        ended = start_script(*command(workdir, devices, epochs)).wait()
        assert ended.code in (0, ALREADY_FINISHED), ended.err

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(undisturbed)
    draw = random.Random(2026 + devices)
    done, in_checkpoints = 0, 0
    for number in range(kills):
        lines = count_lines(killed)
        process = start_script(*command(killed, devices, epochs))
        # A restart drops lines past its checkpoint, so that one more than before is new.
        moved = wait_for(lambda lines=lines: count_lines(killed) > lines, process)
        if number % 2:
            in_checkpoints += wait_for(lambda: writes_a_checkpoint(killed), process)
        else:
            time.sleep(draw.uniform(0, 0.15))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += moved
        process.wait()
    assert done == kills, "every kill has to hit a run that has begun to train and has not ended"
    assert in_checkpoints == kills // 2, "every second kill has to hit a checkpoint being written"
    finish(killed)
    assert metrics(killed) == metrics(undisturbed)
    assert len(metrics(killed)) == 2 * 2 * epochs
    assert summary(killed) == summary(undisturbed)


@pytest.mark.slow
def test_two_kills(start_script, tmp_path: Path) -> None:
    compare_with_killed_run(start_script, tmp_path, kills=2, devices=1, epochs=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("devices", [1, 2])
def test_ten_kills(start_script, tmp_path: Path, devices: int) -> None:
    compare_with_killed_run(start_script, tmp_path, kills=10, devices=devices, epochs=40)
