"""The engine for Ray: an existing cluster by its address, or this machine as a cluster.

All machines of the cluster share the folder of the sweep.
"""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines import base, remote
from nlstm_jax.sweeps.engines.base import Job, Process
from nlstm_jax.sweeps.engines.remote import RemoteCommand

RayReference: TypeAlias = Any
"""A `ray.ObjectRef`, the handle of a task; Ray is optional, so its types are not imported."""

_KILLED = -9
"""The exit code that is reported for a task that Ray has lost."""
_NOT_RUN = 75
"""The exit code that is reported for a canceled task without a result."""
_NO_GPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
"""The environment variables that hide the GPUs of a machine from a job that has requested none.

Ray leaves these to a task without GPUs as the process has them that started the cluster.
"""
_CONNECT_TIMEOUT = 10.0
"""Seconds in which a cluster must accept a connection."""


class RayEngine:
    """An engine that runs jobs as tasks of Ray, which assigns cores and GPUs to them."""

    def __init__(self, count: int = 0, *, address: str = "", cores: int = 1, gpus: float = 0.0) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            count: The maximum number of jobs at a time; 0: as many as the cluster has cores or GPUs for.
            address: The address of a cluster; empty: a cluster is started on this machine.
            cores: The number of cores of a job.
            gpus: The number of GPUs of a job.

        Raises:
            ConfigError: Ray is not installed, the cluster does not answer, or it has too few resources for a job.
        """
        # Without this, Ray recognizes `uv run` and sends a copy of the working folder to every worker.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise ConfigError('--engine=ray: Ray expected: pip install -e ".[sweep]"') from None

        _connect(ray, address)
        self._ray = ray
        resources = ray.cluster_resources()
        fitting_jobs = _count_fitting_jobs(resources, cores, gpus)
        if not fitting_jobs:
            self.close()
            raise ConfigError(f"--engine=ray: {cores} cores and {gpus:g} GPUs expected, the cluster has {resources}")
        self._capacity = min(count, fitting_jobs) if count else fitting_jobs

        for module in (base, remote):
            ray.cloudpickle.register_pickle_by_value(module)
        self._task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(lambda command: command())
        self._cores = cores
        self._environment = {} if gpus else _NO_GPU

    @property
    def capacity(self) -> int:
        """The maximum number of jobs at a time."""
        return self._capacity

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Submit the jobs to Ray."""
        return [self._start_job(job) for job in jobs]

    def close(self) -> None:
        """Disconnect, and stop the cluster if it was started here."""
        self._ray.shutdown()

    def _start_job(self, job: Job) -> Process:
        job = job._replace(environment={**self._environment, **job.environment})
        return _RayProcess(self._ray, self._task.remote(RemoteCommand(job, self._cores)))


class _RayProcess:
    """A job that runs as a task of Ray."""

    def __init__(self, ray: ModuleType, reference: RayReference) -> None:
        self._ray = ray
        self._reference = reference

    def poll(self) -> int | None:
        """Return the exit code, or None while the task runs or waits for resources."""
        ready, _ = self._ray.wait([self._reference], timeout=0)
        if not ready:
            return None
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.TaskCancelledError:
            return _NOT_RUN
        except self._ray.exceptions.RayError:
            return _KILLED

    def stop(self) -> None:
        """Cancel the task, which interrupts its command."""
        self._ray.cancel(self._reference)


def _connect(ray: ModuleType, address: str) -> None:
    """Connect Ray to the cluster at `address`, or start a cluster on this machine if it is empty.

    Raises:
        ConfigError: No cluster answers.
    """
    _check_reachable(address)
    options: dict[str, bool] = {}
    if not address:
        options["include_dashboard"] = False
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--address={address}: a Ray cluster expected, none answers: {reason}") from None


def _count_fitting_jobs(resources: Mapping[str, float], cores: int, gpus: float) -> int:
    """Return the number of jobs that the resources of a cluster suffice for at a time.

    Args:
        resources: The resources of the cluster as Ray names them, e.g. `{"CPU": 8.0, "GPU": 1.0}`.
        cores: The number of cores of a job.
        gpus: The number of GPUs of a job.
    """
    fitting_jobs = int(resources.get("CPU", 0) // cores)
    if gpus:
        fitting_jobs = min(fitting_jobs, int(resources.get("GPU", 0) / gpus))
    return fitting_jobs


def _check_reachable(address: str) -> None:
    """Check that something listens at an address of the form `HOST:PORT`. Ray itself would try for many minutes.

    Raises:
        ConfigError: Nothing accepts a connection.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address={address}: a Ray cluster expected, none answers: {error}") from None
