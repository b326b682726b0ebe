"""The archive of runs: what a comparison reads comes back, and nothing else is in it."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nlstm_jax.errors import DataError
from nlstm_jax.runs import read_examples, read_notes, read_run, unpack_archive, write_archive, write_notes
from nlstm_jax.runs.examples import write_examples

SECRET = "/home/someone/secret"


def make_run(folder: Path, *, summary: bool = True) -> Path:
    """Write a run folder with everything that a run can have, where `SECRET` stands in all that is private."""
    folder.mkdir(parents=True)
    environment = {
        "schema": 1,
        "command": f"train --workdir={SECRET}",
        "platform": SECRET,
        "commit": "0123456789abcdef",
        "uncommitted_diff": f"+++ {SECRET}",
        "versions": {"jax": "0.9.2"},
        "data": {"checksums": {"train": "ab"}},
        "alone": True,
    }
    config = {
        "schema": 1,
        "name": "lstm",
        "data": {"path": f"{SECRET}/poems.txt", "date_format": "%d/%m/%Y"},
        "cell": {"name": "lstm", "weights": f"{SECRET}/cell.safetensors"},
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "environment.json").write_text(json.dumps(environment), "utf-8")
    line = {"step": 10, "split": "valid", "log_loss": 0.1 + 0.2}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    if summary:
        (folder / "summary.json").write_text('{"schema": 1, "status": "finished", "steps": 10}', "utf-8")
    (folder / "log.txt").write_text(SECRET, "utf-8")
    (folder / "samples").mkdir()
    (folder / "samples" / "sample.txt").write_text(SECRET, "utf-8")
    return folder


def test_a_run_comes_back_with_all_that_a_comparison_reads(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "b" / "seed0"), make_run(tmp_path / "a" / "seed0", summary=False)]
    write_notes(folders[0], text="a note", tags=["paper"])
    sums, weights = np.array([0.1, 0.2], np.float32), np.array([3.0, 4.0])
    write_examples(folders[0], "valid", 10, {"log_loss": (sums, weights), "mse": (sums, weights)})
    write_examples(folders[0], "test", 10, {"log_loss": (sums, weights)})
    runs = [read_run(folder) for folder in folders]
    write_archive(tmp_path / "runs.tar.gz", runs, "log_loss")

    unpacked = unpack_archive(tmp_path / "runs.tar.gz", tmp_path / "unpacked")
    assert [path.relative_to(tmp_path / "unpacked").as_posix() for path in unpacked] == ["b/seed0", "a/seed0"]
    for run, path in zip(runs, unpacked, strict=True):
        again = read_run(path)
        assert (again.metrics, again.summary) == (run.metrics, run.summary)
        assert again.config["data"] == {"path": "poems.txt", "date_format": "%d/%m/%Y"}
        assert again.config["cell"] == {"name": "lstm", "weights": "cell.safetensors"}
        for key in ("commit", "versions", "data", "alone"):
            assert again.environment[key] == run.environment[key]
        assert again.environment["uncommitted_diff"]
        assert read_notes(path) == read_notes(run.path)
    examples = read_examples(unpacked[0], "valid", "log_loss")
    assert examples is not None
    assert examples.step == 10
    np.testing.assert_array_equal(examples.sums, sums)
    # A comparison reads the compared metric of the validation examples alone.
    assert read_examples(unpacked[0], "valid", "mse") is None
    assert read_examples(unpacked[0], "test", "log_loss") is None


def test_nothing_private_is_in_it_and_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    for name in ("first", "second"):
        write_archive(tmp_path / name, [run], "log_loss")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    with tarfile.open(tmp_path / "first") as archive:
        names = archive.getnames()
        texts = [archive.extractfile(name).read().decode() for name in names]
    assert names == ["run/config.json", "run/environment.json", "run/metrics.jsonl", "run/summary.json"]
    assert not any("someone" in text or "+++" in text for text in texts)


def test_another_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs.tar.gz").write_bytes(b"text")
    for name in ("runs.tar.gz", "none.tar.gz"):
        with pytest.raises(DataError, match=rf"^{tmp_path / name}: an archive of runs expected: "):
            unpack_archive(tmp_path / name, tmp_path / "unpacked")
