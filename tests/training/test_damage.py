"""Runs that go on after damage, a power cut, or a full disk end as undisturbed ones do."""

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from interruptions import interrupt_soon

from configs import poems
from nlstm_jax.errors import CheckpointError, InterruptedRunError, StorageError
from nlstm_jax.runs import is_locked, read_run
from nlstm_jax.training import fit, load_run
from nlstm_jax.training.checkpoint import Checkpoints
from nlstm_jax.training.logger import RunLogger

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
CONFIG = poems.get_config("cell=nlstm,depth=2,smoke")


def lines(workdir: Path) -> list[dict]:
    text = (workdir / "metrics.jsonl").read_text("utf-8")
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCK} for line in text.splitlines()]


def set_status(workdir: Path, status: str) -> None:
    path = workdir / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "status": status}), "utf-8")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def array_file(checkpoint: Path) -> Path:
    """Return the largest file of a checkpoint."""
    return max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    fit(CONFIG, workdir)
    return workdir


@pytest.fixture
def stopped(finished, tmp_path) -> Path:
    """Return a copy of the run whose summary says that it goes on."""
    shutil.copytree(finished, tmp_path / "run")
    set_status(tmp_path / "run", "interrupted")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(finished, stopped):
    flip_a_bit(array_file(stopped / "checkpoints" / "24"))
    assert fit(CONFIG, stopped)["status"] == "finished"
    assert lines(stopped) == lines(finished)
    log = (stopped / "log.txt").read_text("utf-8")
    assert log.count("is not as it was written; it is kept as set_aside-24\n") == 1
    assert "going on from step 16\n" in log
    assert (stopped / "checkpoints" / "set_aside-24").is_dir()


def test_where_no_checkpoint_is_whole_the_metrics_stay(finished, stopped):
    for step in Checkpoints(stopped / "checkpoints", read_only=True).steps:
        flip_a_bit(array_file(stopped / "checkpoints" / str(step)))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="set_aside-24"):
            fit(CONFIG, stopped)
        assert lines(stopped) == lines(finished)


@pytest.mark.parametrize("left", [4, 5])
def test_lines_that_a_power_cut_took_are_written_again(finished, stopped, left):
    text = (stopped / "metrics.jsonl").read_text("utf-8")
    kept = text.splitlines(keepends=True)[: left + 1]
    (stopped / "metrics.jsonl").write_text("".join(kept)[:-7], "utf-8")
    fit(CONFIG, stopped)
    assert lines(stopped) == lines(finished)


def test_lines_are_on_the_disk_before_their_checkpoint_has_its_name(tmp_path, monkeypatch):
    events = []
    metrics = tmp_path / "metrics.jsonl"
    fsync, replace = os.fsync, Path.replace

    def record_sync(descriptor):
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))
        fsync(descriptor)

    def record_rename(path, target):
        size = metrics.stat().st_size if metrics.exists() else 0
        events.append(("rename", str(target), size))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "replace", record_rename)
    fit(CONFIG, tmp_path)
    for step in (8, 16, 24):
        ((_, target, size),) = [event for event in events if event[:2] == ("rename", f"{tmp_path}/checkpoints/{step}")]
        assert ("sync", str(metrics), size) in events[: events.index(("rename", target, size))]


@pytest.mark.slow
def test_a_summary_says_running_while_a_resumed_run_trains(tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    interrupt_soon(monkeypatch)
    with pytest.raises(InterruptedRunError):
        fit(CONFIG, workdir)
    monkeypatch.undo()
    assert read_run(workdir).summary["status"] == "interrupted"
    assert not is_locked(workdir)
    seen = []

    def look(*arguments):
        status = json.loads((workdir / "summary.json").read_text("utf-8"))["status"]
        seen.append((status, read_run(workdir).summary, is_locked(workdir)))

    monkeypatch.setattr(RunLogger, "update_progress", look)
    fit(CONFIG, workdir)
    assert set(map(str, seen)) == {str(("running", None, True))}
    assert read_run(workdir).summary["status"] == "finished"


def test_a_run_that_was_killed_after_a_resume_goes_on(finished, stopped):
    set_status(stopped, "running")
    assert fit(CONFIG, stopped)["status"] == "finished"
    assert lines(stopped) == lines(finished)


def test_looks_at_the_test_split_are_counted_on_when_a_run_is_trained_longer(finished, stopped):
    path = stopped / "summary.json"
    summary = {**json.loads(path.read_text("utf-8")), "test": {"log_loss": 1.0}, "test_looks": 2}
    path.write_text(json.dumps(summary), "utf-8")
    fit(CONFIG, stopped)
    written = json.loads(path.read_text("utf-8"))
    assert written["test_looks"] == 2
    assert "test" not in written


def test_a_checkpoint_that_training_replaces_meanwhile_is_no_error(stopped, monkeypatch):
    set_status(stopped, "running")
    restore_checkpoint = Checkpoints.restore

    def replace_first(checkpoints, step, like):
        if step == 24:
            shutil.rmtree(stopped / "checkpoints" / "24")
        return restore_checkpoint(checkpoints, step, like)

    monkeypatch.setattr(Checkpoints, "restore", replace_first)
    assert load_run(stopped).step == 16


def test_lines_before_their_checkpoint_are_not_taken_for_the_best(stopped):
    set_status(stopped, "running")
    shutil.rmtree(stopped / "checkpoints" / "24")
    assert load_run(stopped).step == 16
    set_status(stopped, "finished")
    for checkpoint in ("best", "last"):
        with pytest.raises(CheckpointError, match=r"a checkpoint of step 24 expected, found \[16\]"):
            load_run(stopped, checkpoint).evaluate("valid")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 300, 1_000, 5_000, 100_000])
def test_a_full_disk_is_one_line_and_the_run_goes_on_after_room_is_made(finished, tmp_path, monkeypatch, limit):
    workdir = tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(*arguments):
        # The system then refuses to make a file larger, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))

    monkeypatch.setattr(RunLogger, "update_progress", fill_the_disk)
    try:
        with pytest.raises(StorageError) as caught:
            fit(CONFIG, workdir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(str(workdir))
    assert "cannot be written" in str(caught.value)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    fit(CONFIG, workdir)
    assert lines(workdir) == lines(finished)
