import json
import os
import shutil
from pathlib import Path

import pytest

METRICS = "metrics.jsonl"


@pytest.fixture
def run(trained_runs, tmp_path):
    (folder,) = trained_runs("poems")
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_whole_run_is_described_and_nothing_is_written(run, run_scripts):
    before = contents(run)
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{run}: poems with the cell nlstm, finished at step 24",
        "metrics.jsonl: 6 lines, the last of step 24",
        "checkpoint 16: whole",
        "checkpoint 24: whole",
    ]
    assert contents(run) == before


def test_a_damaged_checkpoint_is_named_and_two_of_two_are_an_error(run, run_scripts, refused):
    show = ["show", "run", f"--workdir={run}"]
    checkpoints = run / "checkpoints"
    flip_a_bit(largest_file(checkpoints / "24"))
    ended = run_scripts({"one": show})["one"]
    assert (ended.code, ended.err) == (0, "")
    assert f"checkpoint 24: damaged: {checkpoints / '24'}: the checkpoint is damaged: " in ended.out
    os.unlink(checkpoints / "16" / "manifest.json")
    before = contents(run)
    ended = run_scripts({"both": show})["both"]
    assert (ended.code, ended.err) == (5, f"{checkpoints}: a whole checkpoint expected, found none\n")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ([0, 1, 2, 3, 3, 4, 5], "one line for each step and split expected, found 2 of step 16 and split valid"),
        ([0, 1, 4, 5, 2, 3], "ascending steps expected, found 16 after 24 in line 5"),
    ],
)
def test_lines_that_are_doubled_or_not_in_order_are_an_error(run, run_scripts, keep, message):
    rows = (run / METRICS).read_text("utf-8").splitlines(keepends=True)
    (run / METRICS).write_text("".join(rows[index] for index in keep), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (3, f"{run / METRICS}: {message}\n")


def test_lines_that_a_checkpoint_counts_on_are_missed(run, run_scripts):
    rows = (run / METRICS).read_text("utf-8").splitlines(keepends=True)
    (run / METRICS).write_text("".join(rows[:5]), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert (ended.code, ended.err) == (0, "")
    assert "checkpoint 24: whole, but 1 of its lines of metrics are missing" in ended.out


def test_another_meaning_of_the_question_is_told(run, run_scripts, refused):
    path = run / "environment.json"
    environment = json.loads(path.read_text("utf-8"))
    environment["question"]["version"] = 99
    path.write_text(json.dumps(environment), "utf-8")
    ended = run_scripts({"show": ["show", "run", f"--workdir={run}"]})["show"]
    assert ended.code == 2
    assert "whose question has version" in ended.err


def test_mistakes_are_one_line(run_scripts, refused, tmp_path):
    ended = run_scripts(
        {
            "nothing": ["show"],
            "unknown": ["show", "rum"],
            "no folder": ["show", "run"],
            "no run": ["show", "run", f"--workdir={tmp_path}"],
        }
    )
    refused(ended["nothing"], 2, "one of run expected, found none")
    refused(ended["unknown"], 2, "one of run expected, found rum")
    refused(ended["no folder"], 2, "--workdir: a run folder expected, found none")
    refused(ended["no run"], 3, f"{tmp_path}: a run folder (one with a config.json) expected, none found")
