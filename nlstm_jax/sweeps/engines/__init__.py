"""Where the processes of a sweep run."""

from pathlib import Path
from typing import NamedTuple

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines.base import Engine, Job, Process
from nlstm_jax.sweeps.engines.local import LocalEngine
from nlstm_jax.sweeps.engines.ray import RayEngine
from nlstm_jax.sweeps.engines.slurm import SlurmEngine

ENGINES = ("local", "ray", "slurm")


class Resources(NamedTuple):
    """What a sweep asks an engine for.

    Attributes:
        slots: trials at a time; 0: as many as there is room for.
        cores, gpus: of a trial; on this machine the slots share what there is.
        address: of a Ray cluster; empty: one is started here.
        minutes: of a SLURM job; one that needs more is queued again.
        slurm: submitit's further parameters, e.g. `{"slurm_partition": "gpu"}`.
    """

    slots: int = 0
    cores: int = 1
    gpus: float = 0.0
    address: str = ""
    minutes: int = 60
    slurm: tuple[str, ...] = ()


def make(name: str, resources: Resources, folder: Path) -> Engine:
    """An engine by its name.

    Raises:
        ConfigError: one that is not installed, cannot be reached, or has too little.
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
            options=_options(resources.slurm),
        )
    return LocalEngine(resources.slots)


def _options(given: tuple[str, ...]) -> dict[str, str]:
    """`partition=gpu` and so on, as submitit spells it."""
    options = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise ConfigError(f"--slurm={each}: NAME=VALUE expected, e.g. partition=gpu")
        options[f"slurm_{name}"] = value
    return options


__all__ = ["ENGINES", "Engine", "Job", "LocalEngine", "Process", "RayEngine", "Resources", "SlurmEngine", "make"]
