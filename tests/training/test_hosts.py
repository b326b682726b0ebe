"""Several processes, each with devices of its own, train one run: the same as one process trains."""

import functools
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from processes import Process

from nlstm_jax import process
from nlstm_jax.errors import ConfigError

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
LONG = {"train.shards": 4, "train.steps": 120, "train.steps_per_call": 2, "eval.every_steps": 10}
SHORT = {**LONG, "train.steps": 12, "eval.every_steps": 6}


@pytest.fixture
def start(start_script):
    """`start(workdir, processes)` starts a run; `own`: what the last of its processes is told besides."""
    return functools.partial(start_run, start_script)


def start_run(
    start_script, workdir: Path, processes: int, devices: int = 1, own: tuple[str, ...] = (), settings: dict = LONG
) -> list[Process]:
    command = ["train", "--config=configs/poems.py:cell=lstm,smoke"]
    command += [f"--workdir={workdir}", f"--cpu_devices={devices}"]
    command += [f"--config.{key}={value}" for key, value in settings.items()]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            command += [f"--coordinator=127.0.0.1:{free.getsockname()[1]}", f"--processes={processes}"]
    started = []
    for index in range(processes):
        each = [*command, *([f"--process={index}"] if processes > 1 else [])]
        each += own if index == processes - 1 else []
        started.append(start_script(*each))
    return started


def ended(started: list[Process]) -> list[tuple[int, str]]:
    """The exit code and the last line of each."""
    ends = [each.wait() for each in started]
    lasts = [[line for line in end.err.splitlines() if not line.startswith("[Gloo]")][-1:] for end in ends]
    return [(end.code, "".join(last)) for end, last in zip(ends, lasts, strict=True)]


def metrics(workdir: Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in lines]


@pytest.fixture(scope="module")
def alone(start_script, tmp_path_factory):
    """By one process on one device, undisturbed."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    assert [code for code, _ in ended(start_run(start_script, workdir, 1))] == [0]
    return workdir


@pytest.mark.slow
def test_two_processes_make_the_run_of_one_bit_for_bit(start, tmp_path):
    assert [code for code, _ in ended(start(tmp_path / "alone", 1, settings=SHORT))] == [0]
    assert [code for code, _ in ended(start(tmp_path / "run", 2, settings=SHORT))] == [0, 0]
    assert len(metrics(tmp_path / "run")) == 4
    assert metrics(tmp_path / "run") == metrics(tmp_path / "alone")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text("utf-8"))
    assert environment["devices"] == {"kind": "cpu", "count": 2, "processes": 2}


@pytest.mark.slow
def test_a_run_goes_from_four_devices_of_two_processes_to_one_and_back(start, alone, tmp_path):
    """A signal that one process alone has got stops all of them, and other devices go on from the checkpoint."""
    workdir = tmp_path / "run"
    for number, (processes, devices) in enumerate([(2, 2), (1, 1), (1, 4)], start=1):
        started = start(workdir, processes, devices)
        while len(metrics(workdir)) < 4 * number and started[0].poll() is None:
            time.sleep(0.005)
        started[-1].send_signal(signal.SIGTERM)
        for code, last in ended(started):
            assert (code, last[:20]) == (75, "interrupted at step ")
    assert [code for code, _ in ended(start(workdir, 2, 2))] == [0, 0]
    assert metrics(workdir) == metrics(alone)


def test_a_mistake_of_one_process_ends_all(start, tmp_path):
    nowhere = tmp_path / "nowhere"
    (first, told), (second, original) = ended(start(tmp_path / "run", 2, own=(f"--config.data.path={nowhere}",)))
    assert (first, second) == (3, 3)
    assert str(nowhere) in original
    assert told == f"process 1: {original}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (
            ("--config.optimizer.learning_rate=0.5",),
            "config.optimizer.learning_rate: 0.002, as in process 0, expected in process 1, found 0.5",
        ),
        (("--cpu_devices=2",), "number of devices: 1, as in process 0, expected in process 1, found 2"),
    ],
)
def test_processes_that_are_told_otherwise_are_refused(start, tmp_path, own, message):
    assert ended(start(tmp_path / "run", 2, own=own)) == [(2, message)] * 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "here:1"}, "--processes: expected with --coordinator, found none"),
        ({"processes": 2, "process": 0}, "--coordinator: expected with --processes and --process, found none"),
        ({"coordinator": "here", "processes": 2, "process": 0}, "--coordinator: an address and a port, .* found here"),
        ({"coordinator": "a:99999", "processes": 2, "process": 0}, "an address and a port, .* found a:99999"),
        ({"coordinator": "here:1", "processes": 2, "process": 2}, "--process: 0 to 1, of --processes=2, expected"),
    ],
)
def test_hosts_that_are_half_told_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        process.initialize_distributed(**arguments)


def test_a_first_process_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(process, "_PATIENCE", 0.5)
    with pytest.raises(ConfigError, match=r"--coordinator: no process answers at 127\.0\.0\.1:1: "):
        process.initialize_distributed(coordinator="127.0.0.1:1", processes=2, process=1)


def test_without_other_hosts_a_process_stays_by_itself(monkeypatch):
    monkeypatch.setitem(os.environ, "SLURM_STEP_NUM_TASKS", "1")
    process.initialize_distributed()
