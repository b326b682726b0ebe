"""Tests of the script with real trials, each in its own process."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_runs import WIDE, metrics, wait_for

ROOT = Path(__file__).resolve().parents[2]

SMALL = """
def sweep(add):
    for cell in ({"cell": "lstm"}, {"cell": "nlstm", "depth": 2}):
        add("configs/poems.py", smoke=True, **cell)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the sweep files by name."""
    folder = tmp_path_factory.mktemp("files")
    few = WIDE.replace("range(4)", "range(2)")
    texts = {
        "small": SMALL,
        "few_seeds": few,
        "wide": WIDE,
        "typo": SMALL.replace("smoke=True", "settings={'train.step': 3}"),
    }
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    return {name: folder / f"{name}.py" for name in texts}


def command(file: Path, workdir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", *options]


def run(file: Path, workdir: Path, *options: str, seconds: float = 200) -> subprocess.CompletedProcess:
    return subprocess.run(command(file, workdir, *options), cwd=ROOT, capture_output=True, text=True, timeout=seconds)


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "sweep"
    done = run(files["small"], workdir)
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


def test_a_sweep_leaves_run_folders_and_says_how_to_compare_them(undisturbed) -> None:
    workdir, said = undisturbed
    assert sorted(metrics(workdir)) == ["smoke,cell=lstm", "smoke,cell=nlstm,depth=2"]
    for folder in (workdir / "trials").iterdir():
        assert json.loads((folder / "summary.json").read_text("utf-8"))["status"] == "finished"
    assert f"2 finished: python -m experiments.compare '{workdir}/trials/*'" in said
    assert "s beside its training (median of 2)" in said


@pytest.mark.slow
def test_a_trial_is_the_run_that_train_makes_of_the_same_options(
    run_scripts, monkeypatch, undisturbed, tmp_path
) -> None:
    workdir, _ = undisturbed
    options = json.loads((workdir / "sweep.json").read_text("utf-8"))["trials"]["smoke,cell=nlstm,depth=2"]["command"]
    # On one core, as trials are: with more threads XLA adds in another order.
    monkeypatch.setenv("NPROC", "1")
    command = ["train", *options.split(), f"--workdir={tmp_path}/trials/run"]
    assert run_scripts({"run": command})["run"].code == 0
    assert metrics(tmp_path)["run"] == metrics(workdir)["smoke,cell=nlstm,depth=2"]


def test_trials_run_a_copy_of_the_code_and_know_its_commit(undisturbed) -> None:
    workdir, _ = undisturbed
    trial = workdir / "trials" / "smoke,cell=lstm"
    environment = json.loads((trial / "environment.json").read_text("utf-8"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert environment["commit"] == head.stdout.strip()
    assert (workdir / "code" / "nlstm_jax" / "training" / "loop.py").exists()
    assert not (workdir / "code" / "tests").exists()


@pytest.mark.slow
def test_later_edits_do_not_reach_trials_that_wait(tmp_path) -> None:
    checkout, workdir = tmp_path / "checkout", tmp_path / "sweep"
    for name in ("nlstm_jax", "configs", "experiments"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    # The editable installation of the tests' own checkout would be found first by a script, but not by -m.
    # Trials that fail at once, each with what only the code before the edit says.
    (tmp_path / "file.py").write_text(SMALL.replace("smoke=True", "settings={'data.path': 'nowhere'}"), "utf-8")
    options = command(tmp_path / "file.py", workdir, "--slots=1", "--retries=0")
    process = subprocess.Popen(options, cwd=checkout, stdout=subprocess.PIPE, text=True)
    wait_for(workdir / "jobs" / "cell=lstm,path=nowhere.json")
    (checkout / "experiments" / "trials.py").write_text("raise SystemExit(9)", "utf-8")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said.count("poems: nowhere: a file of poems, or a folder of quatrain files, expected; there is none") == 2


def test_a_mistake_and_a_dry_run_write_nothing(files, tmp_path) -> None:
    mistaken = run(files["typo"], tmp_path / "sweep")
    assert mistaken.returncode == 2
    assert mistaken.stderr == (
        f"{files['typo']}: trial cell=lstm,step=3: config.train.step: no such setting; did you mean "
        "config.train.steps?\n"
    )
    listed = run(files["small"], tmp_path / "sweep", "--dry_run")
    assert listed.returncode == 0
    assert "--config=configs/poems.py:smoke,cell=nlstm,depth=2" in listed.stdout
    assert not list(tmp_path.iterdir())


def test_a_grid_on_the_command_line_is_shown_and_excludes_a_sweep_file(run_scripts, refused, tmp_path) -> None:
    config = "--config=configs/poems.py:smoke"
    workdir = f"--workdir={tmp_path}/sweep"
    shown = ["--grid", "cell=lstm,nlstm", "--seeds=0..1", "--config.train.epochs=2", "--dry_run"]
    ended = run_scripts(
        {
            "shown": ["sweep", config, workdir, *shown],
            "both": ["sweep", config, workdir, "--sweep=file.py"],
            "none": ["sweep", workdir],
            "grid": ["sweep", workdir, "--sweep=file.py", "--grid=cell=lstm,gru"],
            "typo": ["sweep", config, workdir, "--grid=cel=lstm"],
            "missing": ["sweep", "--config=nowhere.py", workdir, "--grid=cell=lstm"],
        }
    )
    assert ended["shown"].code == 0
    lines = ended["shown"].out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == [
        f"smoke,cell={cell},seed={seed},epochs=2.0" for cell in ("lstm", "nlstm") for seed in (0, 1)
    ]
    expected = "--sweep, a sweep file, or --config with --grid and --seeds, expected, found"
    refused(ended["both"], 2, f"{expected} both")
    refused(ended["none"], 2, f"{expected} none")
    refused(ended["grid"], 2, "--grid and --seeds: --config expected, found --sweep")
    message = "--config: trial smoke,cel=lstm: config argument 'cel': no such argument; did you mean 'cell'?"
    refused(ended["typo"], 2, message)
    refused(ended["missing"], 2, "--config: a config file expected, nowhere.py is none")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_grid_on_the_command_line_trains_what_a_sweep_file_does(undisturbed, tmp_path) -> None:
    options = ["--config=configs/poems.py:smoke", "--grid=cell=lstm,nlstm", f"--workdir={tmp_path}/sweep"]
    done = subprocess.run([sys.executable, "-m", "experiments.sweep", *options], cwd=ROOT, timeout=200)
    assert done.returncode == 0
    assert list(metrics(tmp_path / "sweep")) == ["smoke,cell=lstm", "smoke,cell=nlstm"]
    assert list(metrics(tmp_path / "sweep").values()) == list(metrics(undisturbed[0]).values())


@pytest.mark.slow
def test_a_second_sweep_is_refused_and_after_ctrl_c_the_first_goes_on(undisturbed, files, tmp_path) -> None:
    workdir = tmp_path / "sweep"
    quiet = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    first = subprocess.Popen(command(files["small"], workdir), cwd=ROOT, **quiet)
    wait_for(workdir / "jobs" / "smoke,cell=lstm.json")
    second = run(files["small"], workdir)
    assert second.returncode == 6
    assert f"process {first.pid} on " in second.stderr
    assert second.stderr.endswith("is writing to this sweep\n")
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert (first.returncode, said) == (75, b"interrupted; the same command goes on\n")
    assert run(files["small"], workdir).returncode == 0
    assert metrics(workdir) == metrics(undisturbed[0])


def test_the_same_command_once_more_has_nothing_to_do(undisturbed, files) -> None:
    workdir, _ = undisturbed
    before = {path: path.stat().st_mtime_ns for path in (workdir / "trials").rglob("*")}
    done = run(files["small"], workdir)
    assert done.returncode == 0
    assert "2 finished" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (workdir / "trials").rglob("*")} == before


@pytest.mark.slow
def test_together_in_one_process_trials_are_the_same(run_scripts, monkeypatch, files, tmp_path) -> None:
    """Two seeds at two learning rates share a program, each run on one device."""
    done = run(files["few_seeds"], tmp_path / "sweep", "--together=4")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "sweep" / "jobs").iterdir())) == 3
    found = metrics(tmp_path / "sweep")
    assert len(found) == 12
    options = ["--config=configs/poems.py:smoke,seed=1,cell=nlstm,depth=2", "--config.optimizer.learning_rate=0.01"]
    # On one core, as trials are: with more threads XLA adds in another order.
    monkeypatch.setenv("NPROC", "1")
    assert run_scripts({"run": ["train", *options, f"--workdir={tmp_path}/trials/run"]})["run"].code == 0
    assert found["smoke,seed=1,cell=nlstm,depth=2,learning_rate=0.01"] == metrics(tmp_path)["run"]


@pytest.mark.slow
def test_a_cell_of_the_user_s_own_is_found_where_train_finds_it(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(
        "from benchmarks.own_cell import Coupled\n\ndef make(features): return Coupled(features)\n"
    )
    (tmp_path / "file.py").write_text("def sweep(add): add('configs/poems.py', cell='mine:make', smoke=True)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    options = command(tmp_path / "file.py", tmp_path / "sweep")
    done = subprocess.run(options, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert sorted(metrics(tmp_path / "sweep")) == ["cell=mine_make,smoke"]


@pytest.mark.slow
def test_a_trial_that_fails_is_shown_with_its_last_lines(files, tmp_path) -> None:
    file = tmp_path / "file.py"
    file.write_text(SMALL.replace("smoke=True", "smoke=True, settings={'data.path': 'nowhere'}"), "utf-8")
    done = run(file, tmp_path / "sweep", "--retries=3")
    assert done.returncode == 2
    for cell in ("lstm", "nlstm,depth=2"):
        ending = "poems: nowhere: a file of poems, or a folder of quatrain files, expected; there is none"
        assert f"smoke,cell={cell},path=nowhere: its log in {tmp_path}/sweep/logs ends with\n{ending}" in done.stdout
    assert "2 failed" in done.stdout
    assert done.stderr == "2 of 2 trials failed\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_five_kills_of_the_sweep_and_of_a_trial_all_is_as_undisturbed(files, tmp_path) -> None:
    assert run(files["wide"], tmp_path / "undisturbed").returncode == 0
    draw, killed = random.Random(7), tmp_path / "killed"
    for _ in range(5):
        process = subprocess.Popen(command(files["wide"], killed), cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(draw.uniform(2, 9))
        trials = subprocess.run(["pgrep", "-f", f"experiments.trials.*{killed}/"], capture_output=True, text=True)
        if trials.stdout.split():
            subprocess.run(["kill", "-9", draw.choice(trials.stdout.split())], check=False)
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.wait()
    assert run(files["wide"], killed).returncode == 0
    expected = metrics(tmp_path / "undisturbed")
    assert len(expected) == 24
    assert metrics(killed) == expected
