"""Grids of the command line: the trials are those of a sweep file with the same choices."""

import re
from pathlib import Path

import pytest

from configs import poems
from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps import load
from nlstm_jax.sweeps.grid import plan_grid

POEMS = str(Path(poems.__file__))


def test_the_trials_are_those_of_a_sweep_file_with_the_same_choices(tmp_path) -> None:
    path = tmp_path / "same.py"
    path.write_text(
        f"""
def sweep(add):
    for cell in ("lstm", "nlstm"):
        for rate in (1e-3, 3e-3):
            for zoneout in ((0.1,), (0.2,)):
                for seed in range(3):
                    settings = {{"train.epochs": 2.0, "optimizer.learning_rate": rate, "cell.zoneout": zoneout}}
                    add({POEMS!r}, smoke=True, params=20000, cell=cell, seed=seed, settings=settings)
""",
        "utf-8",
    )
    lists = ["cell=lstm,nlstm", "optimizer.learning_rate=1e-3,3e-3", "cell.zoneout=(0.1,),(0.2,)"]
    trials = plan_grid(f"{POEMS}:smoke,params=20000", lists, "0..2", {"train.epochs": 2.0})
    assert trials == load(path).trials
    assert len(trials) == 24
    assert trials[0].config["optimizer"]["learning_rate"] == 0.001


def test_values_are_numbers_truth_values_and_texts() -> None:
    trials = plan_grid(POEMS, ["layers=1,2", "smoke=true,False", "model.tied=True", "data.path=a.b,c:d"])
    assert [trial.config["cell"]["layers"] for trial in trials] == [1] * 4 + [2] * 4
    assert [trial.config["data"]["path"] for trial in trials[:2]] == ["a.b", "c:d"]
    assert [trial.config["train"]["batch_size"] == 32 for trial in trials[:4]] == [True, True, False, False]
    assert trials[0].config["model"]["tied"] is True


@pytest.mark.parametrize(("seeds", "expected"), [("0..2", [0, 1, 2]), ("7..7", [7]), ("5,0", [5, 0])])
def test_seeds_are_a_range_or_a_list(seeds, expected) -> None:
    assert [trial.config["seeds"]["init"] for trial in plan_grid(POEMS, [], seeds)] == expected


@pytest.mark.parametrize(
    ("config", "lists", "seeds", "message"),
    [
        ("", ["cell"], "", "--grid=cell: NAME=VALUE,VALUE expected, e.g."),
        ("", ["cell="], "", "--grid=cell=: NAME=VALUE,VALUE expected"),
        ("", ["cell=lstm,,gru"], "", "--grid=cell=lstm,,gru: NAME=VALUE,VALUE expected"),
        ("", ["=lstm"], "", "--grid==lstm: NAME=VALUE,VALUE expected"),
        ("", ["cell=lstm,gru,lstm"], "", "different values expected, found lstm twice"),
        ("", ["layers=1", "layers=2"], "", "--grid=layers=2: one place for the values of layers expected, found two"),
        (":cell=gru", ["cell=lstm"], "", "--grid=cell=lstm: one place for the values of cell expected, found two"),
        ("", ["seed=1,2"], "0..2", "--seeds=0..2: one place for the values of seed expected, found two"),
        ("", ["train.epochs=1,2"], "", "one place for the values of train.epochs expected, found two"),
        ("", [], "3", "--seeds=3: a range such as 0..2, or different seeds such as 0,1,5, expected"),
        ("", [], "2..1", "--seeds=2..1: a range such as"),
        ("", [], "1,1", "--seeds=1,1: a range such as"),
        ("", ["settings=1"], "", "--grid=settings: an argument of the config file, or a dotted setting, expected"),
        ("", ["cell=lstm", "depth=2"], "", "trial cell=lstm,depth=2,epochs=3: config argument 'depth': only an nlstm"),
        ("", ["train.batch_size=0"], "", "config.train.batch_size: a whole number"),
        ("", ["eval.test_curve=true"], "", "a sweep does not look at the test split"),
    ],
)
def test_a_mistake_is_one_line(config, lists, seeds, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        plan_grid(POEMS + config, lists, seeds, {"train.epochs": 3})
    assert "\n" not in str(caught.value)
