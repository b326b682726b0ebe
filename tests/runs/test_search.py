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
