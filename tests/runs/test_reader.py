import json

import pytest

from nlstm_jax.errors import DataError
from nlstm_jax.runs import RunFolder, is_locked, read_run

CONFIG = {"task": "poems", "cell": {"name": "lstm"}}


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a run with one evaluation."""
    with RunFolder(tmp_path, CONFIG) as run:
        run.write_environment({"commit": "abc"})
        run.append_metrics([{"step": 8, "split": "train", "log_loss": 2.5}])
    return tmp_path


def test_a_run_is_read_as_it_was_written(folder):
    with RunFolder(folder, CONFIG) as run:
        run.write_summary({"status": "finished", "steps": 8})
    run = read_run(str(folder))
    assert run.path == folder
    assert run.config == CONFIG
    assert run.environment == {"commit": "abc"}
    assert run.metrics == [{"step": 8, "split": "train", "log_loss": 2.5}]
    assert run.summary == {"status": "finished", "steps": 8}


def test_a_run_that_only_began_has_neither_metrics_nor_summary(tmp_path):
    with RunFolder(tmp_path, CONFIG):
        pass
    run = read_run(tmp_path)
    assert (run.environment, run.metrics, run.summary) == ({}, [], None)


def test_reading_changes_nothing(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    read_run(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_last_line_that_a_crash_cut_off_is_left_out(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "split": "train", "log_lo')
    assert [line["step"] for line in read_run(folder).metrics] == [8]


def test_a_last_line_that_lacks_only_its_newline_is_whole(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "split": "train", "log_loss": 2.25}')
    assert [line["step"] for line in read_run(folder).metrics] == [8, 16]
    with RunFolder(folder, CONFIG) as run:
        run.truncate_metrics(16)
        run.append_metrics([{"step": 24, "split": "train", "log_loss": 2.0}])
    assert [line["step"] for line in read_run(folder).metrics] == [8, 16, 24]


def test_a_run_that_was_resumed_has_no_outcome_until_it_ends(folder):
    with RunFolder(folder, CONFIG) as run:
        run.mark_running()
        assert not (folder / "summary.json").exists()
        run.write_summary({"status": "interrupted", "steps": 8})
        run.mark_running()
        assert json.loads((folder / "summary.json").read_text())["status"] == "running"
        assert read_run(folder).summary is None
        assert is_locked(folder)
    assert not is_locked(folder)
    assert not is_locked(folder / "nowhere")


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_a_configuration_is_none(tmp_path, name):
    folder = tmp_path / name
    with pytest.raises(DataError) as caught:
        read_run(folder)
    assert str(caught.value) == f"{folder}: a run folder (one with a config.json) expected, none found"


@pytest.mark.parametrize("name", ["config.json", "environment.json", "summary.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2, "task": "poems"}', "schema 1 expected, 2 found"),
        ('{"task": "poems"}', "schema 1 expected, None found"),
        ("[1]", "schema 1 expected, None found"),
        ('{"schema": 1,', "JSON expected: "),
        ("", "JSON expected: "),
        ("[" * 100_000, "JSON expected: nested too deeply"),
    ],
)
def test_a_file_that_is_not_of_the_form_is_named(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(DataError) as caught:
        read_run(folder)
    assert str(caught.value).startswith(f"{folder / name}: {message}")


@pytest.mark.parametrize("line", [b"step 16\n", b'{"step": 16\n', b"\n", b'{"step": "\xff"}\n', b"[" * 99_999 + b"\n"])
def test_a_whole_line_that_is_not_json_is_refused(folder, line):
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(DataError) as caught:
        read_run(folder)
    assert str(caught.value).startswith(f"{folder / 'metrics.jsonl'}: one JSON object a line expected: ")


def test_a_metric_has_the_direction_and_the_unit_that_its_task_declared(tmp_path):
    declared = {
        "f1": {"higher_is_better": True, "unit": ""},
        "log_loss": {"higher_is_better": False, "unit": "nats per symbol"},
    }
    with RunFolder(tmp_path, CONFIG) as run:
        run.write_environment({"metrics": declared})
    run = read_run(tmp_path)
    assert run.higher_is_better("f1")
    assert not run.higher_is_better("log_loss")
    assert (run.unit("f1"), run.unit("log_loss")) == ("", "nats per symbol")


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"f1": True}, "f1: an object expected, found True"),
        ({"f1": {"higher_is_better": 1}}, "higher_is_better: true or false expected, found 1"),
        ({"f1": {"unit": None}}, "unit: a text expected, found None"),
    ],
)
def test_a_declaration_of_another_type_is_refused(tmp_path, declared, message):
    with RunFolder(tmp_path, CONFIG) as run:
        run.write_environment({"metrics": declared})
    with pytest.raises(DataError) as caught:
        read_run(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'environment.json'}: {message}"


def test_in_a_run_of_an_earlier_version_higher_is_better_for_accuracies_alone(folder):
    run = read_run(folder)
    assert run.higher_is_better("token_accuracy")
    assert not run.higher_is_better("perplexity")
    assert (run.unit("log_loss"), run.unit("perplexity")) == ("nats", "")
    assert run.question is None
