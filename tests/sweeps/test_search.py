"""Searches with a real study in SQLite: what is requested and reported, and that no trial is lost."""

import time
from pathlib import Path

import pytest
from requirements import requires

optuna = requires("optuna")

from nlstm_jax.errors import ConfigError  # noqa: E402
from nlstm_jax.sweeps import load  # noqa: E402
from nlstm_jax.sweeps import search as searches  # noqa: E402
from nlstm_jax.sweeps.progress import TrialProgress  # noqa: E402
from nlstm_jax.sweeps.search import Search, connect  # noqa: E402

CONFIG = str(Path(__file__).parents[2] / "configs" / "poems.py")
TEXT = f"""
import optuna
TRIALS = {{count}}
SAMPLER = optuna.samplers.RandomSampler(seed=3)
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=2)

def suggest(trial, add):
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    add({CONFIG!r}, smoke=True, settings={{{{"optimizer.learning_rate": rate}}}})
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "rates.py"
    path.write_text(TEXT.format(count=4), "utf-8")
    return load(path).search


def search(spec, tmp_path, folder: str = "sweep", retries: int = 1) -> Search:
    storage = connect(f"sqlite:///{tmp_path}/study.db", retries=retries)
    return Search(spec, name="rates", storage=storage, folder=tmp_path / folder)


def study(tmp_path):
    return optuna.load_study(study_name="rates", storage=f"sqlite:///{tmp_path}/study.db")


def reached(*values: float) -> TrialProgress:
    """Return the progress of a run with an evaluation every 8 steps."""
    by_step = {8 * index: value for index, value in enumerate(values, start=1)}
    return TrialProgress("finished", 8 * len(values), min(values, default=None), by_step)


def test_trials_come_as_there_are_places_until_there_are_as_many_as_asked_for(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    first = source.next_trials(3)
    assert [len(group) for group in first] == [1, 1, 1]
    assert [group[0].name[:11] for group in first] == ["0000,smoke,", "0001,smoke,", "0002,smoke,"]
    assert source.next_trials(0) == []
    assert len(source.next_trials(3)) == 1
    assert source.next_trials(3) == []
    rates = [trial.params["rate"] for trial in study(tmp_path).trials]
    assert [group[0].config["optimizer"]["learning_rate"] for group in first] == rates[:3]


def test_the_study_is_told_how_each_trial_ended(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    trials = [group[0] for group in source.next_trials(4)]
    for trial, state, values in zip(
        trials, ("finished", "pruned", "diverged", "failed"), (3.0, 4.0, 5.0, 6.0), strict=True
    ):
        source.should_prune(trial, reached(values + 1, values))
        source.report_result(trial, state, reached(values + 1, values))
    stored = study(tmp_path).trials
    assert [trial.state.name for trial in stored] == ["COMPLETE", "PRUNED", "PRUNED", "FAIL"]
    assert stored[0].value == 3.0
    assert stored[0].intermediate_values == {8: 4.0, 16: 3.0}
    # A trial that failed counts, so that a search ends even if all trials fail.
    assert source.next_trials(4) == []
    assert source.done


def test_a_trial_without_hope_is_stopped(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    good, better, bad, _ = (group[0] for group in source.next_trials(4))
    for trial, value in ((good, 3.0), (better, 2.0)):
        assert not source.should_prune(trial, reached(value + 1, value))
        source.report_result(trial, "finished", reached(value + 1, value))
    assert not source.should_prune(bad, TrialProgress())
    assert source.should_prune(bad, reached(9.0))


def test_what_an_earlier_call_has_left_is_taken_up_again(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    trials = [group[0] for group in source.next_trials(2)]
    source.report_result(trials[0], "finished", reached(3.0))
    again = search(spec, tmp_path)
    assert [group[0] for group in again.next_trials(0)] == trials
    again.report_result(trials[0], "finished", reached(3.0))
    again.report_result(trials[1], "finished", reached(2.0))
    assert [trial.value for trial in study(tmp_path).trials] == [3.0, 2.0]
    assert len(again.next_trials(9)) == 2


def test_a_trial_of_a_killed_sweep_is_tried_again_by_another_of_the_study(spec, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(searches, "_HEARTBEAT", 1)
    killed = search(spec, tmp_path, "killed")
    (lost,) = (group[0] for group in killed.next_trials(1))
    other = search(spec, tmp_path, "other")
    assert len(other.next_trials(3)) == 3
    assert other.next_trials(1) == []
    assert not other.done
    time.sleep(6)
    (again,) = (group[0] for group in other.next_trials(1))
    assert again.config == lost.config
    assert [trial.state.name for trial in study(tmp_path).trials].count("FAIL") == 1


def test_better_is_higher_for_an_accuracy(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    (trial,) = source.next_trials(1)[0]
    trial.config["task"] = "classify"
    trial.config["eval"]["metric"] = "accuracy"
    source.report_result(trial, "finished", TrialProgress("finished", 8, 0.75, {8: 0.75}))
    assert study(tmp_path).best_value == -0.75


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.format(count=0), "TRIALS, the number of trials, at least 1, expected, found 0"),
        (
            TEXT.format(count=4).replace("learning_rate", "learning_rat"),
            r"no such setting; did you mean config\.opt",
        ),
        (TEXT.format(count=4).replace("    add(", "    (lambda *_, **__: 0)("), "one trial added expected, 0 found"),
        (TEXT.format(count=4).replace('"rate", 1e-4', '"rate", 1'), r"rates\.py line \d+: ValueError"),
        (TEXT.format(count=4) + "\ndef sweep(add): ...", "both found"),
    ],
)
def test_a_mistake_in_the_file_is_found_before_there_is_a_study(tmp_path, text, message) -> None:
    path = tmp_path / "rates.py"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        (
            "sqlite:////nowhere/at/all.db",
            "--storage=sqlite:////nowhere/at/all.db: a database expected: .*unable to open",
        ),
        ("nonsense", "--storage=nonsense: a database expected: "),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line(storage, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        connect(storage, retries=1)
    assert "\n" not in str(caught.value)
