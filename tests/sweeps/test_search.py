"""Searches with a real study in SQLite: what is requested and reported, and that no trial is lost."""

import time
from pathlib import Path

import pytest
from requirements import requires

optuna = requires("optuna")

from nlstm_jax.errors import ConfigError, StorageError  # noqa: E402
from nlstm_jax.sweeps import load  # noqa: E402
from nlstm_jax.sweeps import search as searches  # noqa: E402
from nlstm_jax.sweeps.folder import SweepFolder  # noqa: E402
from nlstm_jax.sweeps.progress import TrialProgress  # noqa: E402
from nlstm_jax.sweeps.search import Search, SearchSpec, connect  # noqa: E402
from nlstm_jax.sweeps.space import Trial  # noqa: E402

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


def search(spec, tmp_path, folder: str = "sweep", retries: int = 1, name: str = "rates") -> Search:
    storage = connect(f"sqlite:///{tmp_path}/study.db", retries=retries)
    return Search(spec, name=name, storage=storage, folder=SweepFolder(tmp_path / folder))


def next_trials(source: Search, folder: Path, count: int) -> list[Trial]:
    """Return new trials of a search, recorded in the folder of the sweep as the queue does."""
    trials = [group[0] for group in source.next_trials(count)]
    with SweepFolder(folder).open([]) as opened:
        opened.record(trials)
    return trials


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
    trials = next_trials(source, tmp_path / "sweep", 2)
    source.report_result(trials[0], "finished", reached(3.0))
    again = search(spec, tmp_path)
    assert [group[0] for group in again.next_trials(0)] == trials
    again.report_result(trials[0], "finished", reached(3.0))
    again.report_result(trials[1], "finished", reached(2.0))
    assert [trial.value for trial in study(tmp_path).trials] == [3.0, 2.0]
    assert len(again.next_trials(9)) == 2


def test_a_folder_that_has_moved_knows_its_trials(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    trials = next_trials(source, tmp_path / "sweep", 2)
    source.report_result(trials[0], "finished", reached(3.0))
    (tmp_path / "sweep").rename(tmp_path / "moved")
    assert [group[0] for group in search(spec, tmp_path, "moved").next_trials(0)] == trials
    # A new sweep at the old place has no trials.
    assert search(spec, tmp_path).next_trials(0) == []


SAMPLERS = {
    "random": "optuna.samplers.RandomSampler(seed=3)",
    "tpe": "optuna.samplers.TPESampler(seed=3, n_startup_trials=1)",
    "nsga": "optuna.samplers.NSGAIISampler(seed=3, population_size=2)",
    "default": None,
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_proposes_what_an_undisturbed_one_does(tmp_path, sampler) -> None:
    """A search that is loaded anew for every trial proposes the same values, and none of them twice."""
    path = tmp_path / "rates.py"
    text = TEXT.format(count=5)
    text = text.replace(SAMPLERS["random"], str(SAMPLERS[sampler]))
    path.write_text(text.replace("SAMPLER = None\n", ""), "utf-8")

    rates = {}
    for folder in ("undisturbed", "interrupted"):
        (tmp_path / folder).mkdir()
        source = None
        for _ in range(5):
            if source is None or folder == "interrupted":
                source = search(load(path).search, tmp_path / folder)
                source.next_trials(0)
            (trial,) = next_trials(source, tmp_path / folder / "sweep", 1)
            source.report_result(trial, "finished", reached(trial.config["optimizer"]["learning_rate"]))
        rates[folder] = [trial.params["rate"] for trial in study(tmp_path / folder).trials]
    assert rates["interrupted"] == rates["undisturbed"]
    assert len(set(rates["interrupted"])) == 5


@pytest.fixture
def own_config(tmp_path):
    """Return a function that writes a config file with a batch size, and a sweep file that uses it."""

    def write(batch_size: int, count: int = 2) -> SearchSpec:
        config = f"""
from configs import poems

def get_config(argument):
    config = poems.get_config(argument)
    config.train.batch_size = {batch_size}
    return config
"""
        (tmp_path / "own.py").write_text(config, "utf-8")
        path = tmp_path / "rates.py"
        path.write_text(TEXT.format(count=count).replace(repr(CONFIG), repr(str(tmp_path / "own.py"))), "utf-8")
        return load(path).search

    return write


def test_old_results_do_not_count_for_a_config_file_that_was_edited(own_config, tmp_path) -> None:
    source = search(own_config(32), tmp_path)
    for trial in next_trials(source, tmp_path / "sweep", 2):
        source.report_result(trial, "finished", reached(3.0))

    difference = r"\(train\.batch_size: 32 there, 64 here\)"
    with pytest.raises(ConfigError, match=rf"study rates holds a trial 0000,\S+ of another .*{difference}; choose"):
        search(own_config(64), tmp_path)
    # Another study has no trials yet, but the folder has some with the names that the new ones get.
    other = search(own_config(64), tmp_path, name="other")
    with pytest.raises(ConfigError, match=rf"sweep holds a trial 0000,\S+ of another .*{difference}; choose"):
        other.next_trials(1)
    # With the config file as it was the search goes on.
    assert len(search(own_config(32, count=4), tmp_path).next_trials(4)) == 4


def test_a_file_that_asks_for_other_choices_is_refused(tmp_path) -> None:
    path = tmp_path / "rates.py"
    text = TEXT.format(count=4).replace(
        'trial.suggest_float("rate", 1e-4, 1e-1, log=True)', 'trial.suggest_categorical("rate", [0.1, 0.2])'
    )
    path.write_text(text, "utf-8")
    next_trials(search(load(path).search, tmp_path), tmp_path / "sweep", 1)
    path.write_text(text.replace("[0.1, 0.2]", "[0.1, 0.2, 0.3]"), "utf-8")
    with pytest.raises(ConfigError, match=r"no longer makes \(.*rates\.py line \d+: ValueError: Categorical"):
        search(load(path).search, tmp_path)
    assert len(study(tmp_path).trials) == 1


def test_a_proposal_that_the_file_rejects_leaves_no_running_trial(tmp_path) -> None:
    path = tmp_path / "rates.py"
    text = TEXT.format(count=2)
    path.write_text(text + "    if trial.number == 1: raise RuntimeError('no such machine')\n", "utf-8")
    source = search(load(path).search, tmp_path)
    (first,) = next_trials(source, tmp_path / "sweep", 1)
    with pytest.raises(ConfigError, match=r"rates\.py line \d+: RuntimeError: no such machine") as caught:
        source.next_trials(1)
    assert "\n" not in str(caught.value)
    assert [trial.state.name for trial in study(tmp_path).trials] == ["RUNNING", "FAIL"]

    path.write_text(text, "utf-8")
    again = search(load(path).search, tmp_path)
    trials = next_trials(again, tmp_path / "sweep", 2)
    assert trials[0] == first
    for trial in trials:
        again.report_result(trial, "finished", reached(3.0))
    assert again.done


@pytest.mark.slow
def test_a_trial_without_a_heartbeat_does_not_stop_a_search_from_ending(spec, tmp_path, monkeypatch) -> None:
    """A sweep that is killed in the middle of a proposal leaves such a trial."""
    monkeypatch.setattr(searches, "_HEARTBEAT", 1)
    source = search(spec, tmp_path)
    for trial in next_trials(source, tmp_path / "sweep", 3):
        source.report_result(trial, "finished", reached(3.0))
    source._study.ask()
    again = search(spec, tmp_path)
    again.next_trials(0)
    again.next_trials(1)
    assert not again.done
    time.sleep(6)
    (trial,) = next_trials(again, tmp_path / "sweep", 1)
    again.report_result(trial, "finished", reached(3.0))
    assert again.done


@pytest.mark.slow
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


def test_a_database_that_is_gone_for_a_while_is_one_line_and_the_same_search_goes_on(spec, tmp_path) -> None:
    source = search(spec, tmp_path)
    trials = next_trials(source, tmp_path / "sweep", 2)
    database = tmp_path / "study.db"
    database.rename(tmp_path / "away.db")
    for call in (
        lambda: source.should_prune(trials[1], reached(4.0)),
        lambda: source.report_result(trials[0], "finished", reached(3.0)),
        lambda: source.next_trials(9),
    ):
        with pytest.raises(StorageError, match=r"^the database of the search cannot be read or written: [^\n]+$"):
            call()
    (tmp_path / "away.db").rename(database)
    again = search(spec, tmp_path)
    assert [group[0] for group in again.next_trials(0)] == trials
    again.report_result(trials[0], "finished", reached(3.0))
    assert study(tmp_path).trials[0].value == 3.0
    assert len(again.next_trials(9)) == 2


def test_two_searches_may_make_the_tables_of_a_database_at_once(tmp_path, monkeypatch) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    opened = []

    def open_storage(url, **options):
        opened.append(url)
        if len(opened) == 1:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE", {}, Exception("table trials already exists"))
        return url

    monkeypatch.setattr(optuna.storages, "RDBStorage", open_storage)
    monkeypatch.setattr(searches, "_DATABASE_RETRY_PAUSE", 0)
    url = f"sqlite:///{tmp_path}/study.db"
    assert connect(url, retries=1) == url


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
