"""Tests of the settings: invalid values are refused, and the documentation page is up to date."""

from pathlib import Path

import pytest

from nlstm_jax import settings
from nlstm_jax.cells.build import FACTORIES
from nlstm_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


def test_every_default_is_accepted() -> None:
    for task in settings.TASKS:
        for cell in FACTORIES:
            settings.check(settings.defaults(task, cell).to_dict())


def test_the_page_is_what_the_table_says() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert page == settings.describe(), "python -m nlstm_jax.settings > docs/settings.md"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.batch_size", 0, "config.train.batch_size: a whole number ≥ 1 expected, found 0"),
        ("train.epochs", float("nan"), "config.train.epochs: a finite number > 0 expected, found nan"),
        ("optimizer.learning_rate", -1.0, "config.optimizer.learning_rate: a finite number > 0 expected, found -1.0"),
        ("model.dropout_input", 1.0, "config.model.dropout_input: a finite number ≥ 0 and < 1 expected, found 1.0"),
        ("eval.test_curve", 1, "config.eval.test_curve: True or False expected, found 1"),
        (
            "cell.zoneout",
            (0.1, 1.0),
            "config.cell.zoneout: a finite number ≥ 0 and < 1 (or several, with commas between them) expected, found "
            "(0.1, 1.0)",
        ),
        (
            "penalty.l1_bias",
            (),
            "config.penalty.l1_bias: a finite number ≥ 0 (or several, with commas between them) expected, found ()",
        ),
        ("seeds.init", True, "config.seeds.init: a whole number ≥ 0 and ≤ 2,147,483,647 expected, found True"),
    ],
)
def test_a_value_out_of_bounds_is_named(key: str, value: object, message: str) -> None:
    config = settings.defaults("poems", "lstm").to_dict()
    section, field = key.split(".")
    config[section][field] = value
    with pytest.raises(ConfigError) as raised:
        settings.check(config)
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [(0.5,), [0.5, 0.0], (0, 0.25)])
def test_a_setting_by_level_takes_one_value_or_several(value: object) -> None:
    config = settings.defaults("poems", "nlstm").to_dict()
    config["cell"]["recurrent_dropout"] = value
    settings.check(config)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("model.dropout", "model.dropout_input"),
        ("dropout", "model.dropout_input"),
        ("batch", "train.batch_size"),
        ("train.batch", "train.batch_size"),
        ("eval.batch", "eval.batch_size"),
    ],
)
def test_a_name_of_other_libraries_is_answered_by_the_setting_that_it_means(key: str, meant: str) -> None:
    config = settings.defaults("poems", "lstm").to_dict()
    assert (
        settings.explain_unknown_setting(key, config) == f"config.{key}: no such setting; did you mean config.{meant}?"
    )


def test_an_unknown_setting_is_named_with_the_nearest() -> None:
    config = settings.defaults("poems", "lstm").to_dict()
    config["train"]["batchsize"] = 3
    with pytest.raises(
        ConfigError, match=r"config.train.batchsize: no such setting; did you mean config.train.batch_size\?"
    ):
        settings.check(config)
