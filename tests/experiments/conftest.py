"""Scripts as `python -m` runs them, several in the time that one takes to import JAX."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from nlstm_jax.data.shop_world import ShopWorld, write_shop_world

ROOT = Path(__file__).resolve().parents[2]

# Every case is a process of its own, forked after the imports and before JAX starts its threads.
RUNNER = """
import json, os, runpy, sys, warnings
import experiments.command, nlstm_jax.training
folder = sys.argv[1]
for name, (script, *arguments) in json.load(sys.stdin).items():
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if not child:
        for stream, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{name}.{end}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv = [script, *arguments]
        runpy.run_module(f"experiments.{script}", run_name="__main__", alter_sys=True)
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(f"{folder}/{name}.code", "w") as file:
        file.write(str(code))
"""


class Ended(NamedTuple):
    """What a process leaves behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def run_scripts(tmp_path_factory):
    """`run_scripts({name: [script, *arguments]})` gives the end of each, one after the other."""

    def run(cases: dict[str, list]) -> dict[str, Ended]:
        folder = tmp_path_factory.mktemp("processes")
        given = json.dumps({name: [str(part) for part in parts] for name, parts in cases.items()})
        environment = {**os.environ, "NLSTM_JAX_CACHE": str(folder / "cache"), "COLUMNS": "120"}
        command = [sys.executable, "-c", RUNNER, str(folder)]
        subprocess.run(command, cwd=ROOT, env=environment, input=given, text=True, check=True, timeout=280)

        def read(name: str, end: str) -> str:
            return (folder / f"{name}.{end}").read_text("utf-8")

        return {name: Ended(int(read(name, "code")), read(name, "out"), read(name, "err")) for name in cases}

    return run


RUNS = {
    "poems": "configs/poems.py:cell=nlstm,smoke",
    "text": "configs/ptb.py:cell=lstm,smoke",
    "echo": "configs/echo.py:cell=lstm,smoke",
    "classify": "configs/classify.py:cell=lstm,variant=six,features=32",
    "stocks": "configs/stocks.py:cell=lstm,variant=sequence,smoke",
}
"""Runs on generated data that the tests of scripts share."""


def assert_refused(ended: Ended, code: int, message: str) -> None:
    """The exit code, and exactly this line on stderr."""
    assert (ended.code, ended.err) == (code, f"{message}\n")


@pytest.fixture(scope="session")
def refused():
    return assert_refused


@pytest.fixture(scope="session")
def trained_runs(run_scripts, tmp_path_factory):
    """`trained_runs("echo", "text")` gives the folders of finished runs, each trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("runs")

    def folders(*names: str) -> list[Path]:
        missing = [name for name in names if not (folder / name).exists()]
        ended = run_scripts(
            {name: ["train", f"--config={RUNS[name]}", f"--workdir={folder / name}"] for name in missing}
        )
        assert {name: (end.code, end.err) for name, end in ended.items()} == dict.fromkeys(missing, (0, ""))
        return [folder / name for name in names]

    return folders


@pytest.fixture(scope="session")
def trained(run_scripts, tmp_path_factory):
    """A folder with two finished smoke runs, `poems` and `sales`, and the shop world of the latter."""
    folder = tmp_path_factory.mktemp("trained")
    write_shop_world(ShopWorld(shops=6, items=80, rows=3000, test_pairs=300), folder / "world")
    sales = ["--config=configs/sales.py:cell=nlstm,smoke", f"--config.data.path={folder / 'world'}"]
    cases = {
        "sales": ["train", *sales, f"--workdir={folder / 'sales'}"],
        "poems": ["train", f"--config={RUNS['poems']}", f"--workdir={folder / 'poems'}"],
    }
    ended = run_scripts(cases)
    assert {name: (end.code, end.err) for name, end in ended.items()} == dict.fromkeys(cases, (0, ""))
    return folder
