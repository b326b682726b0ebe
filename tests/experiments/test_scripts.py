"""The scripts as a user starts them: what they print, what they refuse, and how they end."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlstm_jax.runs.lock import hold

ROOT = Path(__file__).resolve().parents[2]
POEMS = "--config=configs/poems.py:cell=nlstm,smoke"
SALES = "--config=configs/sales.py:cell=nlstm,smoke"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "NLSTM_JAX_CACHE": str(tmp_path_factory.mktemp("cache")), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def run(environment):
    def script(name: str, *arguments: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    return script


@pytest.fixture(scope="module")
def poems_run(run, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "poems"
    done = run("train", POEMS, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir


def refused(done: subprocess.CompletedProcess, code: int, message: str) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.cell.featurs=3", 'Did you mean "features" instead of "featurs"'),
        ("--config.cell.features=0.3", "--config.cell.features=0.3"),
        ("--config.optimizer.learning_rate=nan", "a finite number > 0 expected, found nan"),
        ("--config.train.batch_size=-4", "config.train.batch_size: a whole number ≥ 1 expected, found -4"),
        ("--config.data.path=nowhere.txt", "there is none"),
        ("--no_such_flag=1", "no_such_flag"),
        ("--config=configs/nothing.py", "a config file expected, configs/nothing.py is none"),
        ("--config=configs/poems.py:cell=lstn", "did you mean 'lstm'?"),
        ("--config.eval.metric=acuracy", "config.eval.metric: one of log_loss"),
        ("--config.train.batch_size=5000", "at least one batch of 5000 training poems expected, found 256"),
        ("leftover", "flags only expected, found 'leftover'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(run, tmp_path, flag, message) -> None:
    done = run("train", POEMS, f"--workdir={tmp_path / 'run'}", flag)
    refused(done, 3 if "data" in flag or "5000" in flag else 2, message)
    assert not (tmp_path / "run").exists()


def test_a_bad_poem_is_named_by_file_and_line(run, tmp_path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"q{split}").write_text("\n".join(["a b\tc d\te f\tg h"] * 40), "utf-8")
    with (tmp_path / "qtrain").open("a") as file:
        file.write("\na b\tc d\te f")
    done = run("train", POEMS, f"--workdir={tmp_path / 'run'}", f"--config.data.path={tmp_path}")
    refused(done, 3, "qtrain line 41: 4 verse lines expected, 3 found")


def test_a_bad_sale_is_named_by_file_row_and_column(run, tmp_path) -> None:
    header = "date,date_block_num,shop_id,item_id,item_price,item_cnt_day\n"
    (tmp_path / "sales_train.csv").write_text(f"{header}02.01.2013,0,1,1,10.0,1.0\n31.02.2013,1,1,1,10.0,1.0\n", "utf-8")
    done = run("train", SALES, f"--workdir={tmp_path / 'run'}", f"--config.data.path={tmp_path}")
    refused(done, 3, "sales_train.csv line 3, column date")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_is_protected(run, poems_run) -> None:
    refused(run("train", POEMS, f"--workdir={poems_run}"), 7, "has already finished")
    other = run("train", POEMS, f"--workdir={poems_run}", "--config.train.epochs=4.0")
    refused(other, 2, "train.epochs: 3.0 there, 4.0 here")
    with hold(poems_run):
        refused(run("train", POEMS, f"--workdir={poems_run}", "--overwrite"), 6, "another process is writing")


def test_samples_have_the_form_of_the_poems_and_repeat_with_their_seed(run, poems_run) -> None:
    first = run("sample", f"--workdir={poems_run}", "--count=2", "--seed=5", "--prompt=the")
    assert first.returncode == 0, first.stderr
    poems = first.stdout.strip().split("\n\n")
    assert [[len(line.split()) for line in poem.splitlines()] for poem in poems] == [[5] * 4] * 2
    assert all(poem.startswith("the ") for poem in poems)
    assert run("sample", f"--workdir={poems_run}", "--count=2", "--seed=5", "--prompt=the").stdout == first.stdout
    assert run("sample", f"--workdir={poems_run}", "--count=2", "--seed=6", "--prompt=the").stdout != first.stdout
    assert any((poems_run / "samples").iterdir())
    refused(run("sample", f"--workdir={poems_run}", "--prompt=xyzzy"), 2, "found 'xyzzy'")


def test_looks_at_the_test_split_are_counted(run, poems_run) -> None:
    assert "valid at step 24: log_loss" in run("evaluate", f"--workdir={poems_run}").stdout
    for look in (1, 2):
        assert f"looked at {look} times" in run("evaluate", f"--workdir={poems_run}", "--split=test").stdout
    refused(run("forecast", f"--workdir={poems_run}"), 2, "a sales run expected")


def test_without_a_checkpoint_there_is_nothing_to_restore(run, tmp_path, poems_run) -> None:
    refused(run("evaluate", f"--workdir={tmp_path}"), 3, "a run folder (one with a config.json) expected")
    (tmp_path / "config.json").write_bytes((poems_run / "config.json").read_bytes())
    refused(run("evaluate", f"--workdir={tmp_path}"), 5, "a run with a checkpoint expected")


def test_ctrl_c_says_how_to_go_on(environment, run, tmp_path) -> None:
    command = [sys.executable, "-m", "experiments.train", POEMS, f"--workdir={tmp_path / 'run'}"]
    command += ["--config.train.epochs=200.0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    text = errors.decode()
    assert "interrupted at step" in text
    assert f"-m experiments.train {POEMS} --workdir={tmp_path / 'run'}" in text
    assert "Traceback" not in text


def test_a_forecast_answers_every_pair_in_order(run, tmp_path) -> None:
    world = tmp_path / "world"
    assert run("generate", "--task=sales", f"--out={world}", "--rows=3000", "--pairs=500").returncode == 0
    refused(run("generate", "--task=sales", f"--out={world}"), 2, "a new or empty folder expected")
    workdir = tmp_path / "run"
    trained = run("train", SALES, f"--workdir={workdir}", f"--config.data.path={world}")
    assert trained.returncode == 0, trained.stderr
    done = run("forecast", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    with (workdir / "forecast.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (world / "test.csv").open() as file:
        pairs = list(csv.DictReader(file))
    with (world / "sales_train.csv").open() as file:
        sold = {(row["shop_id"], row["item_id"]) for row in csv.DictReader(file)}
    assert [row["ID"] for row in rows] == [pair["ID"] for pair in pairs]
    assert all(0 <= float(row["item_cnt_month"]) <= 20 for row in rows)
    strangers = {
        row["item_cnt_month"]
        for row, pair in zip(rows, pairs, strict=True)
        if (pair["shop_id"], pair["item_id"]) not in sold
    }
    assert len(strangers) == 1
    with (workdir / "ranking.csv").open() as file:
        ranking = [float(row["expected_sales"]) for row in csv.DictReader(file)]
    assert ranking == sorted(ranking, reverse=True)
    assert sum(ranking) == pytest.approx(sum(float(row["item_cnt_month"]) for row in rows), rel=1e-3)


@pytest.mark.parametrize(
    "script", ["train", "evaluate", "sample", "forecast", "compare", "generate", "baselines", "demo"]
)
def test_help_teaches(run, script) -> None:
    done = run(script, "--help")
    assert f"python -m experiments.{script}" in done.stdout
