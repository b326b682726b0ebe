"""The engine for this machine, with real processes: their cores, and how they are stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlstm_jax.sweeps.engines import Job, LocalEngine
from nlstm_jax.sweeps.engines.local import make_slots, visible_gpus


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def job(tmp_path: Path, name: str, code: str) -> Job:
    """Return a job that runs Python code."""
    return Job(name, [sys.executable, "-c", code], tmp_path, tmp_path / f"{name}.txt", {"WORD": name})


def ended(process, seconds: float = 20.0) -> int:
    """Wait for the end of a process, and return its exit code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (code := process.poll()) is not None:
            return code
        time.sleep(0.02)
    raise AssertionError("the process goes on")


def test_slots_share_cores_and_gpus() -> None:
    assert [slot.cores for slot in make_slots(0, cores=[0, 1, 2], gpus=[])] == [[0], [1], [2]]
    assert [slot.cores for slot in make_slots(2, cores=[0, 1, 2, 3], gpus=[])] == [[0, 2], [1, 3]]
    assert [slot.cores for slot in make_slots(3, cores=[4, 5], gpus=[])] == [[4], [5], [4]]
    assert all(slot.environment == {"JAX_PLATFORMS": "cpu"} for slot in make_slots(0, cores=[0, 1], gpus=[]))
    one_each = make_slots(0, cores=[0, 1, 2, 3], gpus=["3", "5"])
    assert [slot.environment for slot in one_each] == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "35"]
    shared = [slot.environment for slot in make_slots(3, cores=[0, 1], gpus=["0", "1"])]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in shared] == ["0", "1", "0"]
    assert [environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION") for environment in shared] == ["0.450", None, "0.450"]


def test_gpus_are_those_that_may_be_seen(monkeypatch) -> None:
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert visible_gpus() == ["2", "0"]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert visible_gpus() == []


def test_a_job_runs_in_its_folder_on_its_cores_and_says_it_in_its_log(tmp_path) -> None:
    engine = LocalEngine(2)
    code = "import os, sys; print(os.getcwd(), os.environ['WORD'], sorted(os.sched_getaffinity(0))); sys.exit(3)"
    processes = engine.start([job(tmp_path, "a", code), job(tmp_path, "b", code)])
    assert [ended(process) for process in processes] == [3, 3]
    said = [(tmp_path / f"{name}.txt").read_text("utf-8") for name in "ab"]
    assert said == [f"{tmp_path} {name} {engine.slots[index].cores}\n" for index, name in enumerate("ab")]
    (again,) = engine.start([job(tmp_path, "a", "print('once more')")])
    assert ended(again) == 0
    assert (tmp_path / "a.txt").read_text("utf-8").endswith("once more\n")


def test_a_job_is_asked_to_stop_by_sigterm(tmp_path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "print('here', flush=True); time.sleep(60)"
    )
    (process,) = LocalEngine(1).start([job(tmp_path, "a", code)])
    wait_for(tmp_path / "a.txt")
    process.stop()
    assert ended(process) == 75
    process.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl, by which a process hears of its parent's end, is Linux'")
def test_a_job_is_asked_to_stop_when_its_sweep_is_killed(tmp_path) -> None:
    child = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit()))\n"
        "print('here', flush=True); time.sleep(60)"
    )
    parent = (
        "import sys, time; from pathlib import Path; from nlstm_jax.sweeps.engines import Job, LocalEngine\n"
        f"command = [sys.executable, '-c', {child!r}]\n"
        "LocalEngine(1).start([Job('a', command, Path.cwd(), Path('a.txt').absolute(), {})]); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path)
    wait_for(tmp_path / "a.txt", "here")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(tmp_path / "a.txt", "asked")


def wait_for(file: Path, text: str = "", seconds: float = 20.0) -> None:
    """Wait until a file contains a text, and is not empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if file.exists() and (said := file.read_text("utf-8")) and text in said:
            return
        time.sleep(0.02)
    raise AssertionError(f"{text!r} expected in {file}")
