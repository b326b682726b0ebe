import json
import re
import shutil
from pathlib import Path

import pytest

SHOWN = r"{split} at step 24: log_loss ([\d.]+)  log_loss_per_character ([\d.]+)  perplexity ([\d.]+)\n"


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def evaluated(trained, run_scripts, tmp_path_factory):
    """Return a copy of the finished run of poems, and the output of evaluations of it and of broken copies."""
    folder = tmp_path_factory.mktemp("evaluated")
    copies = ("run", "interrupted", "bare", "empty", "lost", "changed", "unwritable")
    for name in copies:
        shutil.copytree(trained / ("sales" if name == "changed" else "poems"), folder / name)
    for name in ("environment.json", "metrics.jsonl", "summary.json"):
        (folder / "bare" / name).unlink()
    shutil.rmtree(folder / "bare" / "checkpoints")
    shutil.rmtree(folder / "empty" / "checkpoints" / "24")
    shutil.rmtree(folder / "lost" / "checkpoints" / "24" / "default" / "d")
    said = json.loads((folder / "interrupted" / "summary.json").read_text("utf-8"))
    (folder / "interrupted" / "summary.json").write_text(json.dumps({**said, "status": "interrupted"}))
    shutil.copytree(trained / "world", folder / "world")
    config = (folder / "changed" / "config.json").read_text("utf-8")
    (folder / "changed" / "config.json").write_text(config.replace(str(trained / "world"), str(folder / "world")))
    with (folder / "world" / "sales_train.csv").open("a") as file:
        file.write("02.01.2013,0,1,1,99.5,2.0\n")
    cases = {name: ["evaluate", f"--workdir={folder / name}"] for name in (*copies, "nowhere")}
    cases["interrupted"].append("--split=test")
    cases["test"] = [*cases["run"], "--split=test"]
    cases["test again"] = [*cases["run"], "--split=test", "--checkpoint=last"]
    (folder / "unwritable" / "lock").unlink()
    (folder / "unwritable" / "lock").mkdir()
    cases["unwritable"] += ["--split=test", "--examples"]
    cases["unknown split"] = [*cases["run"], "--split=tset"]
    return folder, run_scripts(cases)


def test_the_validation_split_is_said_as_training_said_it(evaluated, trained):
    ended = evaluated[1]
    assert (ended["run"].code, ended["run"].err) == (0, "")
    found = re.fullmatch(SHOWN.format(split="valid"), ended["run"].out)
    expected = summary(trained / "poems")["valid"]
    for text, name in zip(found.groups(), ("log_loss", "log_loss_per_character", "perplexity"), strict=True):
        assert float(text) == round(expected[name], 6)


def test_looks_at_the_test_split_are_counted_and_kept(evaluated, trained):
    folder, ended = evaluated
    found = re.match(SHOWN.format(split="test"), ended["test"].out)
    assert ended["test"].out.endswith("\nthe test split of this run has been looked at 1 time\n")
    assert ended["test again"].out.endswith("\nthe test split of this run has been looked at 2 times\n")
    kept = summary(folder / "run")
    assert kept.pop("test_looks") == 2
    test = kept.pop("test")
    assert set(test) == {"log_loss", "log_loss_per_character", "perplexity", "step"}
    assert round(test["log_loss"], 6) == float(found[1])
    assert kept == summary(trained / "poems")


def test_a_look_that_cannot_be_counted_is_not_shown(evaluated, refused):
    folder, ended = evaluated
    refused(ended["unwritable"], 2, f"{folder / 'unwritable' / 'lock'}: cannot be written: Is a directory")
    assert ended["unwritable"].out == ""
    assert not (folder / "unwritable" / "examples_test.npz").exists()


def test_a_run_that_goes_on_keeps_its_test_split_unseen(evaluated, refused):
    folder, ended = evaluated
    refused(
        ended["interrupted"],
        2,
        f"{folder / 'interrupted'}: a finished run expected for a look at its test split, found one that goes on",
    )
    assert "log_loss" not in ended["interrupted"].out
    assert "test" not in summary(folder / "interrupted")


def test_what_cannot_be_restored_is_told(evaluated, refused):
    folder, ended = evaluated
    refused(ended["nowhere"], 3, f"{folder / 'nowhere'}: a run folder (one with a config.json) expected, none found")
    refused(ended["bare"], 5, f"{folder / 'bare'}: a run with a checkpoint expected, found none")
    expected = f"{folder / 'empty' / 'checkpoints'}: a checkpoint of step 24 expected, found [16]"
    refused(ended["empty"], 5, expected)
    assert ended["lost"].code == 5
    assert ended["lost"].err.startswith(f"{folder / 'lost' / 'checkpoints' / '24'}: the checkpoint is damaged: ")
    assert ended["lost"].err.count("\n") == 1
    refused(ended["unknown split"], 2, "flag --split=tset: value should be one of <train|valid|test>")


def test_data_that_have_changed_since_are_told(evaluated):
    folder, ended = evaluated
    assert ended["changed"].code == 3
    assert re.fullmatch(
        rf"{re.escape(str(folder / 'changed'))}: the data have changed since the run: sales_train\.csv of sha256 "
        r"[0-9a-f]{64} expected, found [0-9a-f]{64}\n",
        ended["changed"].err,
    )
