"""Engines: the places where the processes of a sweep run, this machine or a cluster."""

from pathlib import Path
from typing import NamedTuple

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines.base import Engine, Job, Process
from nlstm_jax.sweeps.engines.local import LocalEngine
from nlstm_jax.sweeps.engines.ray import RayEngine
from nlstm_jax.sweeps.engines.slurm import SlurmEngine

ENGINES = ("local", "ray", "slurm")
"""The names of all engines."""


class Resources(NamedTuple):
    """The resources that a sweep requests from an engine.

    Attributes:
        slots: The number of trials at a time; 0: as many as there is room for.
        cores: The number of cores of a trial, on Ray and SLURM. On this machine the slots share all cores.
        gpus: The number of GPUs of a trial, on Ray and SLURM. On this machine the slots share all GPUs.
        address: The address of a Ray cluster; empty: a cluster is started on this machine.
        minutes: The time limit of a SLURM job in minutes. A job that needs more is queued again.
        slurm: The options of `sbatch`, each as `NAME=VALUE`, e.g. `partition=gpu`.
    """

    slots: int = 0
    cores: int = 1
    gpus: float = 0.0
    address: str = ""
    minutes: int = 60
    slurm: tuple[str, ...] = ()


def make(name: str, resources: Resources, folder: Path) -> Engine:
    """Make an engine by its name.

    Args:
        name: One of `ENGINES`.
        resources: The resources that the sweep requests.
        folder: The folder of the sweep.

    Raises:
        ConfigError: The engine is not installed, cannot be reached, or has too few resources.
    """
    if name == "ray":
        return RayEngine(resources.slots, address=resources.address, cores=resources.cores, gpus=resources.gpus)
    if name == "slurm":
        if resources.gpus != int(resources.gpus):
            raise ConfigError(f"--gpus={resources.gpus}: on SLURM a whole number expected")
        return SlurmEngine(
            resources.slots,
            folder=folder / "slurm",
            minutes=resources.minutes,
            cores=resources.cores,
            gpus=int(resources.gpus),
            options=_submitit_options(resources.slurm),
        )
    return LocalEngine(resources.slots)


def _submitit_options(sbatch_options: tuple[str, ...]) -> dict[str, str]:
    """Convert options of `sbatch` such as `partition=gpu` to submitit's parameters such as `slurm_partition`.

    Raises:
        ConfigError: An option is not of the form `NAME=VALUE`.
    """
    options = {}
    for option in sbatch_options:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"--slurm={option}: NAME=VALUE expected, e.g. partition=gpu")
        options[f"slurm_{name}"] = value
    return options


__all__ = ["ENGINES", "Engine", "Job", "LocalEngine", "Process", "RayEngine", "Resources", "SlurmEngine", "make"]
