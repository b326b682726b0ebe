"""Train the runs of a job file: what a sweep starts, several runs that can share a program in one process.

    python -m experiments.trials --job=sweeps/depth/jobs/cell=lstm,seed=0.json

A job file is {"schema": 1, "mirrors": [...], "runs": [{"workdir": ..., "config": {...}}, ...]}, all of it resolved.
"""

import os
from pathlib import Path

import jax

from nlstm_jax import command, settings
from nlstm_jax.runs.files import read_json
from nlstm_jax.training import fit_together

_JOB = command.define_path("job", None, "the job file", required=True)


def main(arguments: list[str]) -> None:
    """Read the job file, and train its runs."""
    command.reject_positional(arguments)
    job = read_json(Path(_JOB.value))
    runs = job["runs"]
    devices = 1 if len(runs) == 1 else len(os.sched_getaffinity(0))
    jax.config.update("jax_num_cpu_devices", devices)

    # A sweep that was begun with an earlier version has recorded configurations that lack newer settings.
    configs = [settings.with_defaults(run["config"]) for run in runs]
    folders = [Path(run["workdir"]) for run in runs]
    fit_together(configs, folders, metric_writers=job.get("mirrors", ()))


if __name__ == "__main__":
    command.run(main)
