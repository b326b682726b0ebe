"""The search for run folders by name and by glob pattern."""

import json

import pytest

from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.runs import find_runs


@pytest.fixture
def runs(tmp_path):
    """Return a folder with three runs and one folder that is not a run."""
    for name in ("lstm-0", "lstm-1", "nlstm-0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"schema": 1, "name": name}), "utf-8")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_a_folder_found_twice_is_one_run(runs):
    found, notes = find_runs([str(runs / "lstm-0"), str(runs / "lstm*"), str(runs / "." / "lstm-0")])
    assert [run.path.name for run in found] == ["lstm-0", "lstm-1"]
    assert notes == []


def test_a_pattern_passes_over_what_is_no_run_and_says_so(runs):
    found, notes = find_runs([str(runs / "*")])
    assert len(found) == 3
    assert notes == [f"skipped {runs / 'notes'}: no run folder, it has no config.json"]


def test_the_runs_of_several_seeds_are_found_by_their_folder(runs):
    for seed in (0, 1):
        (runs / "together" / f"seed{seed}").mkdir(parents=True)
        (runs / "together" / f"seed{seed}" / "config.json").write_text(json.dumps({"schema": 1}), "utf-8")
    seeds = [runs / "together" / f"seed{seed}" for seed in (0, 1)]
    assert [run.path for run in find_runs([str(runs / "together")])[0]] == seeds
    found, _ = find_runs([str(runs / "*")])
    assert len(found) == 5
    assert [run.path for run in found if run.path.parent.name == "together"] == seeds


@pytest.mark.parametrize("pattern", ["gru*", "note*"])
def test_a_pattern_that_finds_no_run_is_refused(runs, pattern):
    with pytest.raises(ConfigError, match=f"{pattern[:-1]}.* finds none") as raised:
        find_runs([str(runs / pattern)])
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("name", ["notes", "nowhere"])
def test_a_named_folder_that_is_no_run_is_refused(runs, name):
    with pytest.raises(DataError, match=f"{name}: a run folder") as raised:
        find_runs([str(runs / name)])
    assert raised.value.exit_code == 3


def test_no_folders_are_refused():
    with pytest.raises(ConfigError, match="run folders or patterns expected"):
        find_runs([])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b""),
        ("config.json", b'{"schema": 1, "train": []}'),
        ("config.json", b'{"schema": 1, "cell": {"name": 3}}'),
        ("environment.json", b'{"schema": 1, "data": {"checksums": 3}}'),
        ("environment.json", b'{"schema": 1, "devices": "cpu"}'),
        ("metrics.jsonl", b"\xff\n"),
        ("metrics.jsonl", b'{"step": 8, "log_loss": "2.5"}\n'),
        ("metrics.jsonl", b'{"step": 8, "split": 3}\n'),
        ("summary.json", b'{"schema": 1, "status": 3}'),
        ("summary.json", b'{"schema": 1, "steps": true}'),
        ("summary.json", b'{"schema": 1, "valid": null}'),
        ("notes.json", b'{"schema": 1, "tags": "paper"}'),
    ],
)
def test_a_damaged_run_is_skipped_with_one_line_and_the_others_are_read(runs, name, content):
    (runs / "lstm-1" / name).write_bytes(content)
    for names in ([str(runs / "*lstm-*")], [str(runs / run) for run in ("lstm-0", "lstm-1", "nlstm-0")]):
        found, notes = find_runs(names)
        assert [run.path.name for run in found] == ["lstm-0", "nlstm-0"]
        assert len(notes) == 1
        assert notes[0].startswith(f"skipped a damaged run: {runs / 'lstm-1' / name}: ")
        assert "\n" not in notes[0]
    with pytest.raises(DataError, match=name):
        find_runs([str(runs / "lstm-1")])


def test_a_metrics_file_that_is_a_folder_is_one_line(runs):
    (runs / "lstm-1" / "metrics.jsonl").mkdir()
    _, notes = find_runs([str(runs / "lstm-*")])
    assert notes == [f"skipped a damaged run: {runs / 'lstm-1' / 'metrics.jsonl'}: a file expected: Is a directory"]
