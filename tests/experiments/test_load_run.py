"""Finished runs as data: their files, their models, and the count of looks at the test split."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nlstm_jax
from benchmarks.comparing import write_runs
from nlstm_jax.errors import CheckpointError, ConfigError
from nlstm_jax.runs import flatten, read_run


@pytest.fixture
def copied(trained_runs, tmp_path: Path):
    """Return a function that returns the folder of a copy of a finished run."""

    def copy(name: str) -> Path:
        (run,) = trained_runs(name)
        return Path(shutil.copytree(run, tmp_path / name))

    return copy


def test_the_files_of_a_run_are_read_without_its_data_and_checkpoint(copied) -> None:
    folder = copied("poems")
    shutil.rmtree(folder / "checkpoints")
    run = nlstm_jax.load_run(folder)
    assert run.config["cell"]["name"] == "nlstm"
    assert run.summary == read_run(folder).summary
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    for name in ("step", "split", "log_loss"):
        assert list(run.metrics[name]) == [line[name] for line in lines]
    with pytest.raises(CheckpointError, match="a run with a checkpoint expected, found none"):
        run.sample()
    with pytest.raises(ConfigError, match=r"^checkpoint: best or last expected, found 'newest'$"):
        nlstm_jax.load_run(folder, "newest")


def test_runs_are_one_table_of_settings_and_metrics(copied) -> None:
    folder = copied("poems")
    other = Path(shutil.copytree(folder, folder.with_name("unfinished")))
    (other / "summary.json").unlink()
    (folder.parent / "notes.txt").touch()
    with pytest.warns(UserWarning, match=r"^skipped .*notes.txt: no run folder, it has no config.json$"):
        table = nlstm_jax.load_runs(folder.parent / "*")
    assert list(table["path"]) == [str(folder), str(other)]
    assert list(table["status"]) == ["finished", "stopped"]

    with pytest.raises(ConfigError, match="each argument a folder or a pattern expected, found a list"):
        nlstm_jax.load_runs([folder])

    run = read_run(folder)
    for key, value in flatten(run.config).items():
        assert table[key][0] == value, key
    for split in ("train", "valid"):
        for metric, value in run.summary[split].items():
            assert table[f"{split}/{metric}"][0] == value
    # What the metrics say so far is what the summary says at the end.
    for name in ("steps", "best_step", "valid/log_loss", "train/log_loss"):
        assert table[name][1] == table[name][0], name


@pytest.mark.slow
def test_500_runs_are_one_table_in_seconds(tmp_path: Path) -> None:
    write_runs(tmp_path, runs=500, evaluations=40)
    start = time.process_time()
    table = nlstm_jax.load_runs(tmp_path / "*")
    seconds = time.process_time() - start
    assert list(table["path"]) == [str(tmp_path / f"run{index:03}") for index in range(500)]
    # 100 configurations of four cells with 25 learning rates, and five seeds each.
    assert len(set(table["optimizer.learning_rate"])) == 25
    assert list(table["seeds.init"]) == 100 * [0, 1, 2, 3, 4]
    # 1 s, of which imports take a half.
    assert seconds < 10


@pytest.mark.slow
def test_every_look_at_the_test_split_is_counted(copied) -> None:
    folder = copied("poems")
    run = nlstm_jax.load_run(folder)
    assert run.evaluate("valid") == pytest.approx(run.summary["valid"], rel=1e-5)
    assert "test_looks" not in run.summary

    sums = nlstm_jax.load_run(folder).per_example_sums("test")
    assert read_run(folder).summary["test_looks"] == 1
    report = run.evaluate("test")
    assert report["log_loss"] == pytest.approx(float(sums["log_loss"].sum.sum() / sums["log_loss"].weight.sum()))
    assert run.summary["test_looks"] == 2
    run.per_example_sums("test")
    assert read_run(folder).summary["test_looks"] == 2

    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    (folder / "summary.json").write_text(json.dumps({**summary, "status": "interrupted"}), "utf-8")
    for look in (nlstm_jax.load_run(folder).evaluate, nlstm_jax.load_run(folder).per_example_sums):
        with pytest.raises(ConfigError, match="a finished run expected for a look at its test split"):
            look("test")
    (folder / "lock").unlink()
    (folder / "lock").mkdir()
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    with pytest.raises(Exception, match="cannot be written"):
        nlstm_jax.load_run(folder).per_example_sums("test")


@pytest.mark.slow
def test_a_loaded_run_does_what_the_scripts_do(copied, run_scripts, tmp_path: Path) -> None:
    poems = copied("poems")
    script = run_scripts({"sample": ["sample", f"--workdir={poems}", "--count=2", "--seed=5"]})["sample"]
    assert nlstm_jax.load_run(poems).sample(count=2, seed=5) + "\n" == script.out

    # The log-probabilities of all poems of a split are its log-loss.
    run = nlstm_jax.load_run(poems)
    texts = run.task.example_lines("valid", run.task.splits["valid"].size)
    log_loss = -run.predict(texts).sum() / np.sum(run.task.splits["valid"].lengths)
    assert log_loss == pytest.approx(run.summary["valid"]["log_loss"], rel=1e-4)

    classify = copied("classify")
    sequences = ["0 0 2 2 0 0", "1 0 0 0 0 0"]
    flags = [f"--sequence={sequence}" for sequence in sequences]
    command = ["classify", f"--workdir={classify}", *flags, f"--out={tmp_path}/classes.csv"]
    assert run_scripts({"classify": command})["classify"].code == 0
    written = np.loadtxt(tmp_path / "classes.csv", delimiter=",", skiprows=1, usecols=range(2, 6))
    np.testing.assert_allclose(nlstm_jax.load_run(classify).predict(sequences), written, atol=1e-4)

    sales = copied("sales")
    assert run_scripts({"forecast": ["forecast", f"--workdir={sales}"]})["forecast"].code == 0
    written = np.loadtxt(sales / "forecast.csv", delimiter=",", skiprows=1, usecols=1)
    np.testing.assert_allclose(nlstm_jax.load_run(sales).predict(), written, atol=1e-4)


@pytest.mark.slow
def test_what_a_run_cannot_do_is_told(copied) -> None:
    run = nlstm_jax.load_run(copied("classify"))
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(run.path))}: a run of poems, .* found one of classify$"):
        run.sample()
    with pytest.raises(ConfigError, match=r"^predict: sequences expected"):
        run.predict()
    with pytest.raises(ConfigError, match=r"^split: one of train expected, found valid$"):
        run.evaluate()
    poems = nlstm_jax.load_run(copied("poems"))
    with pytest.raises(ConfigError, match=r"^predict: a list of texts expected, found none$"):
        poems.predict()
    echo = nlstm_jax.load_run(copied("echo"))
    with pytest.raises(ConfigError, match=r"a run of poems, .* or a task with the method `predict` expected"):
        echo.predict()
    with pytest.raises(ConfigError, match=r"^temperature: a number ≥ 0 expected, found -1$"):
        poems.sample(temperature=-1)


@pytest.mark.slow
def test_importing_the_package_stays_cheap() -> None:
    code = "import nlstm_jax, sys; print([name for name in ('flax', 'orbax', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
