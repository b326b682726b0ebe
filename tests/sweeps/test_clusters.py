"""The same sweep on real clusters on this machine: Ray, and SLURM if its daemons are installed."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from requirements import requires
from sweep_runs import WIDE, metrics, wait_for

ROOT = Path(__file__).resolve().parents[2]
LONG = """
def sweep(add):
    settings = {"train.epochs": 400.0, "eval.every_epochs": 20.0}
    add("configs/poems.py", name="long", smoke=True, settings=settings)
"""
CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "wide.py"
    path.write_text(WIDE, "utf-8")
    return path


@pytest.fixture(scope="module")
def expected(file, tmp_path_factory):
    """Return the metrics of the sweep on the local engine."""
    workdir = tmp_path_factory.mktemp("local") / "sweep"
    done = sweep(file, workdir, "--together=8")
    assert done.returncode == 0, done.stderr
    return metrics(workdir)


@pytest.fixture(scope="module")
def ray():
    """Require Ray. A test requests this before `expected`, so that no sweep runs if Ray is missing."""
    return requires("ray")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Start a SLURM cluster on this machine: munged, slurmctld and slurmd with their own folders and ports."""
    requires("submitit")
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: slurmctld slurmd slurm-client munge)")
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started by root")
    folder = tmp_path_factory.mktemp("slurm")
    host = platform.node().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, cores=os.cpu_count()), "utf-8")
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    Path("/run/munge").mkdir(exist_ok=True)
    munged = subprocess.run(["munged", "--force"], capture_output=True)
    daemons = []
    for name in ("slurmctld", "slurmd"):
        with (folder / f"{name}.out").open("wb") as out:
            daemons.append(subprocess.Popen([name, "-D"], env=environment, stdout=out, stderr=out))
    end = time.monotonic() + 30
    while b"idle" not in subprocess.run(["sinfo"], env=environment, capture_output=True).stdout:
        assert time.monotonic() < end, f"an idle node expected; munged said {munged.stderr!r}; see {folder}"
        time.sleep(0.5)
    yield environment
    for daemon in reversed(daemons):
        daemon.terminate()
        daemon.wait()


def sweep(file: Path, workdir: Path, *options: str, environment=None) -> subprocess.CompletedProcess:
    """Run a sweep to its end."""
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_ray_the_trials_are_the_same(ray, file, expected, tmp_path) -> None:
    done = sweep(file, tmp_path / "sweep", "--engine=ray")
    assert done.returncode == 0, done.stderr
    assert len(expected) == 24
    assert metrics(tmp_path / "sweep") == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_slurm_the_trials_are_the_same(slurm, file, expected, tmp_path) -> None:
    done = sweep(file, tmp_path / "sweep", "--engine=slurm", environment=slurm)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "sweep") == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slurm_s_jobs_outlive_a_killed_sweep_and_are_taken_up_again(slurm, file, expected, tmp_path) -> None:
    workdir = tmp_path / "sweep"
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", "--engine=slurm"]
    assert started(command, slurm, workdir, signal.SIGKILL) == -signal.SIGKILL
    ids = {note.name: note.read_text("utf-8") for note in (workdir / "slurm").glob("*.id")}
    done = sweep(file, workdir, "--engine=slurm", environment=slurm)
    assert done.returncode == 0, done.stderr
    assert {note.name: note.read_text("utf-8") for note in (workdir / "slurm").glob("*.id")} == ids
    assert metrics(workdir) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_stops_slurm_s_jobs_and_they_go_on_from_their_checkpoints(slurm, file, expected, tmp_path) -> None:
    workdir = tmp_path / "sweep"
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", "--engine=slurm"]
    assert started(command, slurm, workdir, signal.SIGINT) == 75
    assert not subprocess.run(["squeue", "-h"], env=slurm, capture_output=True).stdout
    assert sweep(file, workdir, "--engine=slurm", environment=slurm).returncode == 0
    assert metrics(workdir) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_preempted_is_queued_again_and_goes_on(slurm, tmp_path) -> None:
    """SLURM sends SIGUSR2 before a job's time is over. A job that is queued again waits for two minutes."""
    file = tmp_path / "long.py"
    file.write_text(LONG, "utf-8")
    assert sweep(file, tmp_path / "local").returncode == 0
    workdir = tmp_path / "sweep"
    command = [sys.executable, "-m", "experiments.sweep", f"--sweep={file}", f"--workdir={workdir}", "--engine=slurm"]
    with subprocess.Popen(command, cwd=ROOT, env=slurm, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(workdir / "trials" / "long" / "metrics.jsonl")
            (note,) = (workdir / "slurm").glob("*.id")
            subprocess.run(["scancel", "--signal=USR2", note.read_text("utf-8")], env=slurm, check=True)
            wait_for(workdir / "trials" / "long" / "summary.json")
            assert json.loads((workdir / "trials/long/summary.json").read_text("utf-8"))["status"] == "interrupted"
            assert process.wait(timeout=400) == 0
        finally:
            process.kill()
    assert metrics(workdir) == metrics(tmp_path / "local")


def started(command, environment, workdir: Path, signal_number: int) -> int:
    """Start a sweep, send it a signal once its first trial has ended, and return its exit code."""
    first = workdir / "trials" / "smoke,seed=0,cell=lstm,learning_rate=0.002"
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(first / "summary.json")
            process.send_signal(signal_number)
            return process.wait(timeout=120)
        finally:
            process.kill()


def test_a_ray_cluster_that_does_not_answer_is_one_line(ray, file, tmp_path) -> None:
    done = sweep(file, tmp_path / "sweep", "--engine=ray", "--address=127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("--address=127.0.0.1:1: a Ray cluster expected, none answers")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "sweep").exists()
