"""A Ray cluster: this machine as one, or an existing one by its address, which shares the sweep's folder."""

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines import base, remote
from nlstm_jax.sweeps.engines.base import Job, Process
from nlstm_jax.sweeps.engines.remote import RemoteCommand

_KILLED = -9
_NOT_RUN = 75
_PATIENCE = 10.0
"""Seconds, for a cluster's first answer."""


class RayEngine:
    """Jobs as tasks of Ray, which finds them cores and GPUs."""

    def __init__(self, count: int = 0, *, address: str = "", cores: int = 1, gpus: float = 0.0) -> None:
        """Connect.

        Args:
            count: jobs at a time; 0: as many as the cluster has cores or GPUs for.
            address: of a cluster; empty: one is started on this machine.
            cores, gpus: that a job is given.

        Raises:
            ConfigError: Ray is not installed, the cluster is not there, or has too little.
        """
        # Ray would follow `uv run` and send a copy of the working folder.
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        try:
            import ray
        except ModuleNotFoundError:
            raise ConfigError('--engine=ray: Ray expected: pip install -e ".[sweep]"') from None
        _check_answers(address)
        here: dict[str, Any] = {} if address else {"include_dashboard": False}
        try:
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"--address={address}: a Ray cluster expected, none answers: {reason}") from None
        self._ray = ray
        there = ray.cluster_resources()
        fits = int(there.get("CPU", 0) // cores)
        if gpus:
            fits = min(fits, int(there.get("GPU", 0) / gpus))
        if not fits:
            self.close()
            raise ConfigError(f"--engine=ray: {cores} cores and {gpus:g} GPUs expected, the cluster has {there}")
        self._places = min(count, fits) if count else fits
        for module in (base, remote):
            ray.cloudpickle.register_pickle_by_value(module)
        self._task: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(lambda command: command())
        self._cores = cores

    @property
    def places(self) -> int:
        """Jobs at a time."""
        return self._places

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Hand them to Ray."""
        return [_RayProcess(self._ray, self._task.remote(RemoteCommand(job, self._cores))) for job in jobs]

    def close(self) -> None:
        """Disconnect, and stop a cluster that was started here."""
        self._ray.shutdown()


class _RayProcess:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def poll(self) -> int | None:
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
        self._ray.cancel(self._reference)


def _check_answers(address: str) -> None:
    """Raise a ConfigError if nothing listens at a host and port; Ray itself would try for many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address={address}: a Ray cluster expected, none answers: {error}") from None
