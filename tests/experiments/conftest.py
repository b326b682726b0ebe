"""Fixtures that the tests of scripts share: finished runs, and a check of error messages."""

import fcntl
import os
from pathlib import Path

import pytest
from processes import Ended

from nlstm_jax.data.generators.shop_world import ShopWorld, write_shop_world

RUNS = {
    "poems": ["--config=configs/poems.py:cell=nlstm,smoke"],
    "sales": ["--config=configs/sales.py:cell=nlstm,smoke", "--config.data.path={folder}/world"],
    "text": ["--config=configs/ptb.py:cell=lstm,smoke"],
    "echo": ["--config=configs/echo.py:cell=lstm,smoke"],
    "classify": ["--config=configs/classify.py:cell=lstm,variant=six,features=32"],
    "stocks": ["--config=configs/stocks.py:cell=lstm,variant=sequence,smoke"],
}
"""The flags of runs on generated data. The sales run uses a shop world in the folder `world` beside the run."""


def assert_refused(ended: Ended, code: int, message: str) -> None:
    """Check the exit code, and that stderr has exactly this line."""
    assert (ended.code, ended.err) == (code, f"{message}\n")


@pytest.fixture(scope="session")
def refused():
    return assert_refused


@pytest.fixture(scope="session")
def trained_runs(run_scripts, tmp_path_factory):
    """Return a function: `trained_runs("echo", "text")` returns the folders of finished runs, trained on first use.

    All workers of a test run share the folders, so a test must not change a run, only a copy of it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"
    folder.mkdir(exist_ok=True)

    def train(name: str) -> None:
        if name == "sales" and not (folder / "world").exists():
            write_shop_world(ShopWorld(shops=6, items=80, rows=3000, test_pairs=300), folder / "world")
        options = [option.format(folder=folder) for option in RUNS[name]]
        ended = run_scripts({name: ["train", *options, f"--workdir={folder / name}"]})[name]
        assert (ended.code, ended.err) == (0, "")

    def folders(*names: str) -> list[Path]:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in names:
                if not (folder / name / "summary.json").exists():
                    train(name)
        return [folder / name for name in names]

    return folders


@pytest.fixture(scope="session")
def trained(trained_runs):
    """Return a folder with two finished runs, `poems` and `sales`, and the shop world of the latter."""
    return trained_runs("poems", "sales")[0].parent
