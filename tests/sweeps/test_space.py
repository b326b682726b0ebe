"""Sweep files: the trials that they add, and the error messages for mistakes, with file, trial and key."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs import poems
from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps import load, log_uniform
from nlstm_jax.sweeps.grouping import grouped
from nlstm_jax.sweeps.space import TrialCollector

POEMS = str(Path(poems.__file__))


@pytest.fixture
def write(tmp_path):
    def file(text: str) -> Path:
        path = tmp_path / "trials.py"
        path.write_text(text, "utf-8")
        return path

    return file


def add_all(*many: dict) -> list:
    """Add a trial of `configs/poems.py` for each dict of arguments."""
    collector = TrialCollector("here")
    for arguments in many:
        collector.add(POEMS, **arguments)
    return collector.trials


def test_a_trial_is_what_train_would_make_of_the_same_options(write) -> None:
    path = write(
        f"def sweep(add):\n"
        f"    for seed in range(2):\n"
        f"        settings = {{'optimizer.learning_rate': 0.01}}\n"
        f"        add({POEMS!r}, cell='nlstm', depth=3, smoke=True, seed=seed, settings=settings)\n"
    )
    trials = load(path).trials
    assert [trial.name for trial in trials] == [
        f"cell=nlstm,depth=3,smoke,seed={seed},learning_rate=0.01" for seed in range(2)
    ]
    expected = json.loads(poems.get_config("cell=nlstm,depth=3,smoke,seed=1").to_json())
    expected["optimizer"]["learning_rate"] = 0.01
    assert trials[1].config == expected
    assert trials[1].command == (
        f"--config={POEMS}:cell=nlstm,depth=3,smoke,seed=1 --config.optimizer.learning_rate=0.01"
    )


def test_names_are_of_one_folder_short_and_unique() -> None:
    long = {"data.path": "/" + "a" * 200}
    names = [
        trial.name for trial in add_all({}, {"settings": long}, {"settings": {"data.path": "a b/c"}}, {"name": "x"})
    ]
    assert names[0] == "trial"
    assert len(names[1]) == 120
    assert names[2:] == ["path=a_b_c", "x"]
    clash = {"eval.batch_size": 64, "train.batch_size": 64}
    assert add_all({"settings": clash})[0].name == "eval.batch_size=64,train.batch_size=64"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cel": "lstm"}, r"here: trial cel=lstm: config argument 'cel': no such argument; did you mean 'cell'\?"),
        (
            {"settings": {"optimizer.learning_rat": 0.1}},
            r"here: trial learning_rat=0.1: config\.optimizer\.learning_rat: no such setting; "
            r"did you mean config\.optimizer\.learning_rate\?",
        ),
        ({"settings": {"train.batch_size": 0}}, r"config\.train\.batch_size: .* expected, found 0"),
        ({"settings": {"eval.test_curve": True}}, r"config\.eval\.test_curve: False expected, as a sweep does not"),
        ({"settings": {"cell.candidate_activation": "tan"}}, r"config\.LSTM: candidate_activation: .*found 'tan'"),
        (
            {"cell": "lstm", "smoke": True, "params": 10},
            r"here: trial cell=lstm,smoke,params=10: config.cell or config.model: no width of this cell comes within",
        ),
        (
            {"cell": "lstm", "smoke": True, "model_params": 10},
            r"here: trial cell=lstm,smoke,model_params=10: config.model.parameters: 10,697 parameters or more",
        ),
        ({"name": "../x"}, r"trial \.\./x: a name of letters, digits"),
    ],
)
def test_a_mistake_in_a_trial_names_it(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        add_all(arguments)


def test_a_budget_is_left_to_a_trial_whose_data_are_elsewhere() -> None:
    assert len(add_all({"cell": "lstm", "params": 10, "settings": {"data.path": "nowhere"}})) == 1


def test_two_trials_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="trial seed=1: added twice; name= tells trials apart"):
        add_all({"seed": 1}, {"seed": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def sweep(add:", r"trials.py line 1: SyntaxError"),
        ("import nothing_of_that_name", r"trials.py line 1: ModuleNotFoundError"),
        ("\ndef sweep(add):\n    add(1 / 0)", r"trials.py line 3: ZeroDivisionError: division by zero"),
        ("def sweep(add):\n    add()", r"trials.py line 2: TypeError: .*config"),
        (
            "def sweeps(add): ...",
            r"a function sweep\(add\), or one suggest\(trial, add\), expected, none found",
        ),
        ("def sweep(add): ...", r"trials.py: sweep\(add\): at least one trial expected, none added"),
        ("def sweep(add):\n    add('nowhere.py')", r"trial trial: a config file expected, nowhere.py is none"),
    ],
)
def test_a_mistake_in_the_file_names_its_line(write, text, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(text))


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"a sweep file expected, .*none\.py is none"):
        load(tmp_path / "none.py")


def test_logarithms_are_uniform_and_bounds_are_kept() -> None:
    random = np.random.default_rng(1)
    draws = np.array([log_uniform(random, 1e-4, 1e-1) for _ in range(3000)])
    assert draws.min() >= 1e-4
    assert draws.max() <= 1e-1
    shares = [((draws >= low) & (draws < 10 * low)).mean() for low in (1e-4, 1e-3, 1e-2)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    assert all(float(f"{draw:.3g}") == draw for draw in draws)


def test_trials_of_one_program_share_a_process_up_to_a_size() -> None:
    many = [
        {"cell": cell, "seed": seed, "settings": {"optimizer.learning_rate": rate}}
        for seed in range(2)
        for cell in ("lstm", "gru")
        for rate in (0.1, 0.2)
    ]
    trials = add_all(*many, {"seed": 9, "settings": {"optimizer.clip_norm": 0.0}})
    groups = [
        [(trial.config["cell"]["name"], trial.config["seeds"]["init"]) for trial in group]
        for group in grouped(trials, 3)
    ]
    assert groups == [
        [("lstm", 0)] * 2 + [("lstm", 1)],
        [("gru", 0)] * 2 + [("gru", 1)],
        [("lstm", 1)],
        [("gru", 1)],
        [("lstm", 9)],
    ]
    assert [len(group) for group in grouped(trials, 1)] == [1] * 9
