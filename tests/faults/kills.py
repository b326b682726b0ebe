"""Rows 1, 2 and 10: kills at any moment, kills in a checkpoint, and several writers."""

import importlib.util
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from processes import Process

from faults.cases import Bench, Case, assert_equal_metrics, finish

TRAIN = (
    "train",
    "--config=configs/poems.py:cell=nlstm,smoke",
    "--cpu_devices=1",
    "--config.train.epochs=4.0",
    "--config.train.steps_per_call=3",
    "--config.eval.every_epochs=0.5",
)
LONG = (*TRAIN, "--config.train.epochs=10.0")
"""A run with more checkpoints, so that each case can hit another one."""
ONLINE = ("train", "--config=configs/stocks.py:cell=lstm,features=4", "--config.data.days=3000")
SWEEP = """
def sweep(add):
    for cell in ({"cell": "lstm"}, {"cell": "nlstm", "depth": 2}):
        add("configs/poems.py", smoke=True, **cell)
"""
SEARCH = """
import optuna

TRIALS = 3
SAMPLER = optuna.samplers.RandomSampler(seed=3)

def suggest(trial, add):
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    add("configs/poems.py", smoke=True, settings={"optimizer.learning_rate": rate})
"""
KILLS = 5
"""The number of kills of one sweep or search, whose processes take long to start."""
ALREADY_FINISHED = 7
HOSTS = ("--config.train.shards=4", "--config.train.steps=60", "--config.eval.every_steps=10")


def cases() -> list[Case]:
    """Return the cases of the three rows."""
    made = [Case(1, f"two hosts {number}", partial(_kill_hosts, number)) for number in range(5)]
    made += [Case(1, f"online {number}", partial(_kill, "online", ONLINE, 1, number)) for number in range(10)]
    made += [Case(1, f"sweep {n}", partial(_kill_sweep, "sweep", SWEEP, n)) for n in range(10 // KILLS)]
    reason = why_no_search()
    made += [Case(1, f"search {n}", partial(_kill_sweep, "search", SEARCH, n), reason) for n in range(10 // KILLS)]
    together = (*TRAIN, "--vmap_seeds=2")
    made += [Case(1, f"together {number}", partial(_kill, "together", together, 1, number)) for number in range(10)]
    made += [Case(1, f"train {number}", partial(_kill, "one run", TRAIN, 1, number)) for number in range(30)]
    for moment, condition in (("while it is written", _is_saving), ("after its rename", _has_new_checkpoint)):
        made += [
            Case(2, f"{moment} {number}", partial(_kill_in_checkpoint, condition, number)) for number in range(10)
        ]
    made += [Case(10, f"2 writers {number}", partial(_several_writers, 2)) for number in range(20)]
    made += [Case(10, f"10 writers {number}", partial(_several_writers, 10)) for number in range(20)]
    return made


def why_no_search() -> str:
    """Return the reason why no search can be run; empty if one can."""
    return "" if importlib.util.find_spec("optuna") else "optuna is not installed"


def _go_on(bench: Bench, command: tuple[str, ...], workdir: Path, name: str) -> None:
    """Start a killed run again, and compare it with the undisturbed one."""
    ended = bench.run(*command, f"--workdir={workdir}")
    assert ended.code in (0, ALREADY_FINISHED), f"exit code {ended.code}: {(ended.out + ended.err)[-500:]}"
    assert_equal_metrics(workdir, bench.undisturbed(name, *command))


def _kill(name: str, command: tuple[str, ...], kills: int, number: int, bench: Bench, folder: Path) -> str:
    """Kill a process so often at random moments, each time after the same command, and compare what it ends with."""
    workdir = folder / "run"
    bench.undisturbed(name, *command)
    draw = random.Random(f"{name} {number}")
    latest = bench.seconds(name) / kills
    done = 0
    while done < kills:
        process = bench.start(*command, f"--workdir={workdir}")
        time.sleep(draw.uniform(0.1, latest))
        process.send_signal(signal.SIGKILL)
        ended = process.wait()
        done += 1
        if ended.code != -signal.SIGKILL:
            # It has ended before: once more from the start, and killed earlier.
            assert ended.code in (0, ALREADY_FINISHED), f"exit code {ended.code}: {(ended.out + ended.err)[-500:]}"
            shutil.rmtree(workdir)
            latest /= 2
            done = 0
    _go_on(bench, command, workdir, name)
    return f"{name}: killed{f' {kills} times' if kills > 1 else ''}; equal"


def _kill_sweep(name: str, text: str, number: int, bench: Bench, folder: Path) -> str:
    file = bench.work / f"{name}.py"
    file.write_text(text, "utf-8")
    return _kill(name, ("sweep", f"--sweep={file}"), KILLS, number, bench, folder)


def _kill_hosts(number: int, bench: Bench, folder: Path) -> str:
    command = ("train", "--config=configs/poems.py:cell=lstm,smoke", *HOSTS)
    bench.undisturbed("two hosts", *command, "--cpu_devices=1")
    workdir = folder / "run"
    started = _start_hosts(bench, command, workdir)
    time.sleep(random.Random(number).uniform(1, 4))
    killed = started[number % 2]
    killed.send_signal(signal.SIGKILL)
    # The other process cannot go on without it, and is killed too.
    started[1 - number % 2].send_signal(signal.SIGKILL)
    for process in started:
        process.wait()
    codes = {finish(process).code for process in _start_hosts(bench, command, workdir)}
    assert codes <= {0, ALREADY_FINISHED}, f"exit codes {codes}"
    assert_equal_metrics(workdir, bench.undisturbed("two hosts", *command, "--cpu_devices=1"))
    return "two hosts: both killed; equal to one process"


def _start_hosts(bench: Bench, command: tuple[str, ...], workdir: Path) -> list[Process]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = (*command, "--cpu_devices=1", f"--workdir={workdir}", f"--coordinator={address}", "--processes=2")
    return [bench.start(*shared, f"--process={index}") for index in range(2)]


def _is_saving(names: list[str], before: set[str]) -> bool:
    return any(name.startswith("saving-") for name in names)


def _has_new_checkpoint(names: list[str], before: set[str]) -> bool:
    return any(name.isdecimal() and name not in before for name in names)


def _kill_in_checkpoint(
    condition: Callable[[list[str], set[str]], bool], number: int, bench: Bench, folder: Path
) -> str:
    bench.undisturbed("train", *LONG)
    process = bench.start(*LONG, f"--workdir={folder}/run")
    checkpoints = folder / "run" / "checkpoints"
    # The checkpoint that is hit is another one in each case.
    hits = 0
    seen: set[str] = set()
    was_true = False
    while process.poll() is None:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            names = os.listdir(checkpoints) if checkpoints.is_dir() else []
            is_true = condition(names, seen)
            hits += is_true and not was_true
            was_true = is_true
            if hits > number:
                process.send_signal(signal.SIGKILL)
                process.wait()
                _go_on(bench, LONG, folder / "run", "train")
                return "killed; equal"
            if condition is _has_new_checkpoint:
                seen |= set(names)
    raise AssertionError(f"the run ended before checkpoint {number + 1} was hit")


def _several_writers(count: int, bench: Bench, folder: Path) -> str:
    workdir = folder / "run"
    workdir.mkdir()
    (folder / "link").symlink_to(workdir)
    command = ("train", "--config=configs/poems.py:cell=lstm,smoke", "--config.train.steps=100000")
    command += ("--config.train.steps_per_call=10", "--config.eval.every_steps=1000")
    names = ["run" if index % 2 else "link" for index in range(count)]
    started = [bench.start(*command, f"--workdir={folder / name}") for name in names]
    until = time.monotonic() + 120
    while sum(process.poll() is None for process in started) > 1 and time.monotonic() < until:
        time.sleep(0.05)
    running = [process for process in started if process.poll() is None]
    assert len(running) == 1, f"{len(running)} processes go on"
    for process in started:
        if process is not running[0]:
            ended = process.wait()
            named = f"process {running[0].pid} on " in ended.err and ended.err.count("\n") == 1
            assert ended.code == 6, f"exit code {ended.code}: {ended.err[-300:]}"
            assert named, ended.err[-300:]
    log = workdir / "log.txt"
    while not log.stat().st_size and running[0].poll() is None:
        # Signals are heard from the first line of the log on.
        time.sleep(0.01)
    running[0].send_signal(signal.SIGTERM)
    code = finish(running[0]).code
    assert code == 75, f"the one that went on ended with {code}"
    return f"one went on, {count - 1} ended with 6 and named it"
