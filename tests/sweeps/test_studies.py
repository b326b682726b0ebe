"""Whole searches: they find what a fine grid finds, and several sweeps can share one study in PostgreSQL."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from requirements import requires

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"train.steps": 720, "eval.every_steps": 48}
GRID = f"""
import numpy as np

def sweep(add):
    for rate in np.geomspace(1e-4, 1e-1, 31):
        add("configs/poems.py", smoke=True, settings={{"optimizer.learning_rate": float(rate), **{SETTINGS}}})
"""
STUDY = f"""
import optuna

TRIALS = COUNT
PRUNER = optuna.pruners.SuccessiveHalvingPruner(min_resource=48, reduction_factor=2)

def suggest(trial, add):
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    add("configs/poems.py", smoke=True, settings={{"optimizer.learning_rate": rate, **{SETTINGS}}})
"""


def start(file: Path, workdir: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def outcomes(workdir: Path) -> list[tuple[float, int, float]]:
    """Return the learning rate, the number of steps and the best validation log-loss of every trial."""
    results = []
    for folder in sorted((workdir / "trials").iterdir()):
        config = json.loads((folder / "config.json").read_text("utf-8"))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        best = min(line["log_loss"] for line in lines if line["split"] == "valid")
        results.append((config["optimizer"]["learning_rate"], max(line["step"] for line in lines), best))
    return results


@pytest.mark.slow
def test_a_search_finds_the_learning_rate_of_a_fine_grid_in_half_of_its_steps(tmp_path) -> None:
    requires("optuna")
    (tmp_path / "grid.py").write_text(GRID, "utf-8")
    (tmp_path / "study.py").write_text(STUDY.replace("COUNT", "20"), "utf-8")
    for name, options in (("grid", ["--together=16"]), ("study", [])):
        said, _ = (process := start(tmp_path / f"{name}.py", tmp_path / name, *options)).communicate(timeout=280)
        assert process.returncode == 0, said[-2000:]
    grid, study = outcomes(tmp_path / "grid"), outcomes(tmp_path / "study")
    assert (len(grid), len(study)) == (31, 20)
    grid_rate, _, _ = min(grid, key=lambda trial: trial[2])
    study_rate, _, _ = min(study, key=lambda trial: trial[2])
    assert abs(np.log2(study_rate / grid_rate)) <= 1, f"{study_rate} found, {grid_rate} on the grid"
    grid_steps = sum(trial[1] for trial in grid)
    study_steps = sum(trial[1] for trial in study)
    assert study_steps <= grid_steps / 2


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """Start a PostgreSQL server for the time of the tests, and return the URL of its database."""
    requires("psycopg")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL's server is started by root, as the user postgres")
    folder = tmp_path_factory.mktemp("postgres")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([*as_postgres, programs[-1], "--auth=trust", "-D", data], **quiet)
    port = 20_000 + os.getpid() % 20_000
    server = [programs[-1].with_name("postgres"), "-D", data, "-p", str(port), "-k", data, "-h", "127.0.0.1"]
    process = subprocess.Popen([*as_postgres, *server], stderr=subprocess.DEVNULL)
    ready = [programs[-1].with_name("pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ready, stdout=subprocess.DEVNULL).returncode:
        assert process.poll() is None
        time.sleep(0.1)
    yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    # On SIGINT the server does not wait for its clients.
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)


@pytest.mark.slow
def test_two_sweeps_share_a_study_in_postgres_and_one_takes_over_a_killed_ones_trial(postgres, tmp_path) -> None:
    """One sweep is killed while a trial runs. The other tries that trial again and completes the study."""
    optuna = requires("optuna")
    (tmp_path / "study.py").write_text(STUDY.replace("COUNT", "10"), "utf-8")
    storage, both = f"--storage={postgres}", [tmp_path / "one", tmp_path / "two"]
    one, two = (start(tmp_path / "study.py", workdir, storage, "--slots=1") for workdir in both)
    with one, two:
        while not list(both[0].glob("trials/0*/metrics.jsonl")) and one.poll() is None:
            time.sleep(0.02)
        one.send_signal(signal.SIGKILL)
        said, _ = two.communicate(timeout=280)
    assert two.returncode == 0, said[-2000:]
    study = optuna.load_study(study_name="study", storage=postgres)
    states = [trial.state for trial in study.trials]
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    assert sum(state in ended for state in states) == 10
    dead = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.FAIL]
    assert len(dead) == 1
    again = [trial for trial in study.trials if trial.params == dead[0].params and trial.state in ended]
    assert len(again) == 1
    folders = {trial.user_attrs["folder"] for trial in study.trials}
    assert folders == {str(workdir.absolute()) for workdir in both}
