"""The SLURM engine with commands in place of a cluster's: large sweeps, and a cluster that refuses jobs."""

import json
import os
import re
from pathlib import Path

import pytest
from requirements import requires

requires("submitit")

from nlstm_jax.errors import ConfigError  # noqa: E402
from nlstm_jax.sweeps.engines.base import Job  # noqa: E402
from nlstm_jax.sweeps.engines.slurm import SlurmEngine  # noqa: E402

COMMANDS = {
    # Accepts arrays of up to $MAX_ARRAY_SIZE jobs, and $MAX_SUBMISSIONS submissions.
    "sbatch": """
count=$(ls "$CLUSTER" | grep -c submitted)
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
if [ "${last:-0}" -ge "$MAX_ARRAY_SIZE" ]; then
    echo "sbatch: error: Batch job submission failed: Invalid job array specification" >&2
    exit 1
fi
if [ "$count" -ge "$MAX_SUBMISSIONS" ]; then
    echo "sbatch: error: Batch job submission failed: Slurm temporarily unable to accept job" >&2
    exit 1
fi
cp "$1" "$CLUSTER/submitted$count"
echo "Submitted batch job 10$count"
""",
    "scontrol": """
[ "$*" = "show config" ] || exit 1
echo "MaxArraySize            = $MAX_ARRAY_SIZE"
echo "MaxJobCount             = 10000"
""",
    "scancel": 'echo "$1" >> "$CLUSTER/canceled"',
    "squeue": "true",
    "srun": "true",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Put the commands of a cluster on the path, and return the folder that they write to."""
    folder = tmp_path / "cluster"
    programs = tmp_path / "bin"
    for path in (folder, programs, tmp_path / "slurm"):
        path.mkdir()
    for name, text in COMMANDS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    monkeypatch.setenv("MAX_ARRAY_SIZE", "3")
    monkeypatch.setenv("MAX_SUBMISSIONS", "100")
    return folder


def jobs(tmp_path, count: int) -> list[Job]:
    return [Job(f"job{index}", ["true"], tmp_path, tmp_path / "log", {}) for index in range(count)]


def arrays(cluster: Path) -> list[tuple[int, int]]:
    """Return the size of each submitted array, and how many of its jobs may run at a time. A single job has 1 of 1."""
    result = []
    for file in sorted(cluster.glob("submitted*")):
        array = re.search(r"^#SBATCH --array=0-(\d+)%(\d+)", file.read_text("utf-8"), re.MULTILINE)
        result.append((int(array[1]) + 1, int(array[2])) if array else (1, 1))
    return result


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [(1, 1)]), (3, [(3, 3)]), (4, [(3, 3), (1, 1)]), (7, [(3, 2), (3, 2), (1, 1)])],
)
def test_no_array_is_larger_than_the_cluster_accepts(cluster, tmp_path, count, expected) -> None:
    """The jobs that may run at a time are shared out over the arrays."""
    engine = SlurmEngine(6, folder=tmp_path / "slurm")
    assert len(engine.start(jobs(tmp_path, count))) == count
    assert arrays(cluster) == expected
    ids = [(tmp_path / "slurm" / f"job{index}.id").read_text("utf-8") for index in range(count)]
    assert ids[:3] == (["100_0", "100_1", "100_2"][:count] if count > 1 else ["100"])
    assert len(set(ids)) == count


def test_accepted_jobs_are_canceled_if_the_cluster_refuses_the_others(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAX_SUBMISSIONS", "1")
    engine = SlurmEngine(folder=tmp_path / "slurm")
    with pytest.raises(ConfigError, match=r"--engine=slurm: .*unable to accept job") as caught:
        engine.start(jobs(tmp_path, 5))
    assert "\n" not in str(caught.value)
    assert (cluster / "canceled").read_text("utf-8").split() == ["100_0", "100_1", "100_2"]


@pytest.mark.slow
def test_a_sweep_that_is_refused_ends_with_one_line(cluster, run_scripts, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MAX_SUBMISSIONS", "0")
    grid = ["--config=configs/poems.py:smoke", "--seeds=0..1"]
    ended = run_scripts({"sweep": ["sweep", *grid, f"--workdir={tmp_path}/sweep", "--engine=slurm"]})["sweep"]
    message = "sbatch: error: Batch job submission failed: Slurm temporarily unable to accept job"
    assert ended.code == 2
    assert ended.err.startswith("--engine=slurm: ")
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert len(json.loads((tmp_path / "sweep" / "sweep.json").read_text("utf-8"))["trials"]) == 2
