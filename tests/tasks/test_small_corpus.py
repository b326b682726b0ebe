"""Tests that a run on a small corpus is as long as the demo's, and that a user's choice stands."""

from pathlib import Path

import pytest

from configs import demo, poems
from nlstm_jax.runs import differences
from nlstm_jax.tasks.small_corpus import lengthen_short_run


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    """Return the path of 80 different poems of 5 lines."""
    path = tmp_path / "mine.txt"
    lines = [f"a rose is number {number}\n" * 5 for number in range(80)]
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


def config_of(path: str, argument: str = ""):
    config = poems.get_config(argument)
    config.data.path = path
    return config


def test_training_and_the_demo_have_one_rule(corpus: str) -> None:
    config = lengthen_short_run(config_of(corpus), {"data.path"})
    expected = demo.settings_for_poems(corpus)
    for key in ("train.batch_size", "train.steps", "eval.batch_size", "eval.every_steps"):
        section, name = key.split(".")
        assert config[section][name] == expected[key]
    assert config.train.steps > 10 * 80 // 64


def test_a_chosen_batch_stands_even_if_it_is_the_default(corpus: str) -> None:
    config = config_of(corpus)
    assert lengthen_short_run(config, {"data.path", "train.batch_size"}) is config


def test_a_chosen_length_stands_and_changes_nothing_else(corpus: str) -> None:
    """The same command with more steps trains a finished run longer, so that nothing else may differ."""
    suggested = lengthen_short_run(config_of(corpus), {"data.path"}).to_dict()
    longer = config_of(corpus)
    longer.train.steps = 2 * suggested["train"]["steps"]
    found = lengthen_short_run(longer, {"data.path", "train.steps"}).to_dict()
    assert differences(suggested, found) == {"train.steps": (suggested["train"]["steps"], longer.train.steps)}

    in_epochs = config_of(corpus)
    in_epochs.train.epochs = 500.0
    found = lengthen_short_run(in_epochs, {"data.path", "train.epochs"}).to_dict()
    assert differences(suggested, found) == {
        "train.steps": (suggested["train"]["steps"], 0),
        "train.epochs": (suggested["train"]["epochs"], 500.0),
    }


def test_another_setting_of_the_user_stands_in_a_longer_run(corpus: str) -> None:
    config = config_of(corpus)
    config.eval.every_steps = 7
    assert lengthen_short_run(config, {"eval.every_steps"}).eval.every_steps == 7


def test_smoke_runs_and_generated_poems_stay_as_they_are(corpus: str) -> None:
    for config in (config_of(corpus, "smoke"), config_of("")):
        assert lengthen_short_run(config, set()) is config


def test_a_corpus_that_gives_enough_steps_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("\n\n".join(f"rose {number}" for number in range(3500)), "utf-8")
    config = config_of(str(path))
    assert lengthen_short_run(config, set()) is config
