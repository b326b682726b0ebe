"""A run goes on, and is evaluated, only with the data and the question that it was begun with."""

import json
from pathlib import Path

import pytest
from changed import changed
from rich.console import Console

from configs import ptb, stocks
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.training import fit, load_run

QUIET = Console(quiet=True)


def write_text(folder: Path, word: str) -> None:
    """Write a text of three splits, in which one word is given."""
    folder.mkdir(exist_ok=True)
    for split, lines in (("train", 200), ("valid", 20), ("test", 20)):
        (folder / f"{split}.txt").write_text(f"the sea is {word} and the sky is wide\n" * lines, "utf-8")


def config_of(folder: Path, steps: int) -> dict:
    return changed(
        ptb.get_config("cell=lstm,smoke,features=4"),
        data__path=str(folder),
        train__steps=steps,
        eval__every_steps=2,
        optimizer__schedule="constant",
    )


@pytest.fixture
def trained(tmp_path):
    """Return the folder of a text and that of a run on it."""
    write_text(tmp_path / "text", "grey")
    fit(config_of(tmp_path / "text", 2), tmp_path / "run", console=QUIET)
    return tmp_path / "text", tmp_path / "run"


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_data_are_refused_before_anything_is_written(trained) -> None:
    text, run = trained
    write_text(text, "blue")
    before = contents(run)
    message = r"run: the data have changed since the run: train.txt of sha256 \w{64} expected, found \w{64}$"
    with pytest.raises(DataError, match=message):
        fit(config_of(text, 4), run, console=QUIET)
    with pytest.raises(DataError, match=message):
        load_run(run).evaluate("valid")
    assert contents(run) == before

    summary = fit(config_of(text, 4), run, overwrite=True, console=QUIET)
    assert (summary["status"], summary["steps"]) == ("finished", 4)


def test_a_question_whose_meaning_has_changed_is_refused(trained) -> None:
    text, run = trained
    path = run / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    environment["question"]["version"] = 0
    path.write_text(json.dumps(environment), "utf-8")
    message = "run: a run of text whose question has version 1 expected, found 0: its metrics have another meaning"
    with pytest.raises(ConfigError, match=message):
        fit(config_of(text, 4), run, console=QUIET)
    with pytest.raises(ConfigError, match=message):
        load_run(run).evaluate("valid")


def test_an_online_pass_does_not_go_on_with_other_data(tmp_path) -> None:
    config = changed(stocks.get_config("cell=lstm,smoke"))
    fit(config, tmp_path / "run", console=QUIET)
    summary_path = tmp_path / "run" / "summary.json"
    summary = json.loads(summary_path.read_text("utf-8"))
    summary_path.write_text(json.dumps({**summary, "status": "interrupted"}), "utf-8")
    path = tmp_path / "run" / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    environment["data"]["checksums"] = {"generated": "0" * 64}
    path.write_text(json.dumps(environment), "utf-8")
    with pytest.raises(DataError, match=r"the data have changed since the run: generated of sha256 0{64} expected"):
        fit(config, tmp_path / "run", console=QUIET)
