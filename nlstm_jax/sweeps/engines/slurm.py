"""A SLURM cluster, through submitit: trials as job arrays."""

import getpass
import logging
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines import base, remote
from nlstm_jax.sweeps.engines.base import Job, Process
from nlstm_jax.sweeps.engines.remote import RemoteCommand

_KILLED = -9
_SECONDS = 5.0
"""Between two looks at the queue."""
_STOPPED = 75


class SlurmEngine:
    """Jobs in SLURM's queue, which holds all of them; they outlive the sweep, and are found again."""

    def __init__(
        self,
        count: int = 0,
        *,
        folder: Path,
        minutes: int = 60,
        cores: int = 1,
        gpus: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Look for SLURM.

        Args:
            count: jobs of an array at a time; 0: as many as SLURM finds room for.
            folder: for submitit's files, on a disk that all nodes share.
            minutes: a job's time; one that needs more writes a checkpoint and is queued again.
            cores, gpus: of a job.
            options: submitit's further parameters, e.g. `{"slurm_partition": "gpu", "slurm_account": "me"}`.

        Raises:
            ConfigError: submitit or SLURM are not installed, or submitit knows no such parameter.
        """
        try:
            import cloudpickle
            import submitit
        except ModuleNotFoundError:
            raise ConfigError('--engine=slurm: submitit expected: pip install -e ".[sweep]"') from None
        if shutil.which("sbatch") is None:
            raise ConfigError("--engine=slurm: the command sbatch of a SLURM cluster expected, none found")
        for module in (base, remote):
            cloudpickle.register_pickle_by_value(module)
        self._submitit, self._folder, self._cores = submitit, folder, cores
        self._queued: set[str] = set()
        self._asked = -_SECONDS
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        try:
            self._executor.update_parameters(
                name="nlstm_jax",
                timeout_min=minutes,
                cpus_per_task=cores,
                gpus_per_node=gpus or None,
                slurm_array_parallelism=count or 1000,
                **(options or {}),
            )
        except (NameError, AssertionError) as error:
            raise ConfigError(f"--engine=slurm: {' '.join(str(error).split())}") from None

    @property
    def places(self) -> int:
        """No limit: SLURM's own queue holds them."""
        return 1_000_000

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Submit them as one array; a job that an earlier call has submitted, and that goes on, is taken up again."""
        earlier = {job.name: found for job in jobs if (found := self._earlier(job)) is not None}
        new = [job for job in jobs if job.name not in earlier]
        submitted: list[Any] = []
        if new:
            try:
                with self._executor.batch():
                    submitted += [self._executor.submit(RemoteCommand(job, self._cores)) for job in new]
            except self._submitit.core.utils.FailedJobError as error:
                raise ConfigError(f"--engine=slurm: {' '.join(str(error).split())}") from None
        for job, handle in zip(new, submitted, strict=True):
            self._note(job).write_text(handle.job_id, "utf-8")
        handles = earlier | {job.name: handle for job, handle in zip(new, submitted, strict=True)}
        return [_SlurmProcess(self, handles[job.name]) for job in jobs]

    def close(self) -> None:
        """Nothing is held."""

    def queued(self) -> set[str]:
        """The ids of the user's jobs that wait or run, as of the last seconds."""
        now = time.monotonic()
        if now - self._asked > _SECONDS:
            listed = subprocess.run(
                ["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i"], capture_output=True, text=True
            )
            if listed.returncode == 0:
                self._queued, self._asked = set(listed.stdout.split()), now
        return self._queued

    def _note(self, job: Job) -> Path:
        return self._folder / f"{job.name}.id"

    def _earlier(self, job: Job) -> Any:
        """A job that another process has submitted, and that has not ended."""
        note = self._note(job)
        if not note.exists() or (number := note.read_text("utf-8")) not in self.queued():
            return None
        return self._submitit.SlurmJob(folder=self._folder, job_id=number)


class _SlurmProcess:
    """A job, known by the file that it leaves; without one, by the queue that it has left."""

    def __init__(self, engine: SlurmEngine, job: Any) -> None:
        self._engine, self._job, self._stopped = engine, job, False
        self._missed: float | None = None

    def poll(self) -> int | None:
        if self._job.paths.result_pickle.exists():
            return _KILLED if self._job.exception() is not None else int(self._job.result())
        if self._job.job_id in self._engine.queued():
            self._missed = None
            return None
        # It may be too new, or its file still on its way here.
        self._missed = self._missed or time.monotonic()
        if time.monotonic() - self._missed < 3 * _SECONDS:
            return None
        return _STOPPED if self._stopped else _KILLED

    def stop(self) -> None:
        self._stopped = True
        self._job.cancel(check=False)
