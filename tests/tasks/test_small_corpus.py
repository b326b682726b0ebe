"""Tests that a run on a small corpus is as long as the demo's, and that a user's choice stands."""

from pathlib import Path

import pytest

from configs import poems
from nlstm_jax import tasks
from nlstm_jax.runs import read_run
from nlstm_jax.sweeps.grid import plan_grid
from nlstm_jax.tasks.small_corpus import settings_for_corpus, settings_for_demo, settings_for_short_run

POEMS = str(Path(poems.__file__))


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Return the path of 80 different poems of 5 lines."""
    path = tmp_path / "mine.txt"
    lines = [f"a rose is number {number}\n" * 5 for number in range(80)]
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


def config_of(path: str, argument: str = "") -> dict:
    config = poems.get_config(argument)
    config.data.path = path
    return config.to_dict()


def test_training_and_the_demo_have_one_rule(corpus: str) -> None:
    changes = settings_for_short_run(config_of(corpus), {"data.path"})
    assert changes == settings_for_corpus(corpus)
    assert changes.items() <= settings_for_demo(corpus).items()
    assert changes["train.steps"] > 10 * 80 // 64


def test_a_run_has_as_many_symbols_as_the_task_counts(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("\n".join(f"a rose is number {number}\n" * (20 + number) for number in range(80)), "utf-8")
    changes = settings_for_corpus(str(path))
    config = config_of(str(path))
    config["train"]["batch_size"] = changes["train.batch_size"]
    targets_per_poem = tasks.build(config).targets_per_example
    assert changes["train.batch_size"] == 8
    assert changes["train.steps"] == round(1_843_200 / (8 * targets_per_poem))


def test_a_chosen_batch_stands_even_if_it_is_the_default(corpus: str) -> None:
    assert settings_for_short_run(config_of(corpus), {"data.path", "train.batch_size"}) == {}


def test_a_chosen_length_stands_and_changes_nothing_else(corpus: str) -> None:
    """The same command with more steps trains a finished run longer, so that nothing else may differ."""
    suggested = settings_for_short_run(config_of(corpus), {"data.path"})
    longer = config_of(corpus)
    longer["train"]["steps"] = 2 * suggested["train.steps"]
    found = settings_for_short_run(longer, {"data.path", "train.steps"})
    assert found == {key: value for key, value in suggested.items() if key != "train.steps"}

    in_epochs = config_of(corpus)
    in_epochs["train"]["epochs"] = 500.0
    assert settings_for_short_run(in_epochs, {"data.path", "train.epochs"}) == found


def test_another_setting_of_the_user_stands_in_a_longer_run(corpus: str) -> None:
    changes = settings_for_short_run(config_of(corpus), {"eval.every_steps"})
    assert "train.steps" in changes
    assert "eval.every_steps" not in changes


def test_smoke_runs_and_generated_poems_stay_as_they_are(corpus: str) -> None:
    for config in (config_of(corpus, "smoke"), config_of("")):
        assert settings_for_short_run(config, set()) == {}


def test_a_corpus_that_gives_enough_steps_stays_as_it_is_until_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n\n".join(f"rose {number}" for number in range(3500)), "utf-8")
    config = config_of(str(path))
    assert settings_for_short_run(config, set()) == {}
    path.write_text("\n\n".join(f"rose {number}" for number in range(80)), "utf-8")
    assert settings_for_short_run(config, set()) != {}


@pytest.mark.slow
def test_train_and_a_trial_of_the_same_options_are_one_configuration(corpus: str, run_scripts, tmp_path: Path) -> None:
    # A step of this size diverges at once; the run folder has the configuration by then.
    changes = {"data.path": corpus, "optimizer.learning_rate": 1e30, "optimizer.name": "sgd"}
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    command = ["train", f"--config={POEMS}:cell=lstm,features=4", f"--workdir={tmp_path / 'run'}", *options]
    assert run_scripts({"train": command})["train"].code == 4
    (trial,) = plan_grid(f"{POEMS}:cell=lstm,features=4", [], settings=changes)
    trained = read_run(tmp_path / "run").config
    assert trial.config == {key: trained[key] for key in trial.config}
    assert trained["train"]["steps"] == settings_for_corpus(corpus)["train.steps"]
