"""The engine for a SLURM cluster: trials are submitted as job arrays, through submitit."""

import contextlib
import getpass
import io
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from nlstm_jax.errors import ConfigError
from nlstm_jax.sweeps.engines import base, remote
from nlstm_jax.sweeps.engines.base import Job, Process
from nlstm_jax.sweeps.engines.remote import RemoteCommand

SubmititJob: TypeAlias = Any
"""A `submitit.SlurmJob`; submitit is optional, so its types are not imported."""

_KILLED = -9
"""The exit code that is reported for a job that has ended without a result."""
_STOPPED = 75
"""The exit code that is reported for a job that was canceled before it left a result."""
_QUERY_INTERVAL = 5.0
"""Seconds between two queries of SLURM's queue."""
_UNLIMITED = 1_000_000
_ARRAY_PARALLELISM = 1000
"""The number of jobs of an array that may run at a time if the user sets no limit."""


class SlurmEngine:
    """An engine that puts all jobs into SLURM's queue.

    The jobs outlive the sweep. A later call of the sweep finds them again.
    """

    def __init__(
        self,
        count: int = 0,
        *,
        folder: Path,
        minutes: int = 60,
        cores: int = 1,
        gpus: int = 0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Check that SLURM and submitit are installed, and set up submitit.

        Args:
            count: The maximum number of running jobs of an array; 0: as many as SLURM finds room for.
            folder: The folder for submitit's files, on a disk that all nodes share.
            minutes: The time limit of a job in minutes. A job that needs more writes a checkpoint and is queued again.
            cores: The number of cores of a job.
            gpus: The number of GPUs of a job.
            options: Further parameters of submitit, e.g. `{"slurm_partition": "gpu", "slurm_account": "me"}`.

        Raises:
            ConfigError: submitit or SLURM is not installed, or submitit does not know one of the parameters.
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
        self._submitit = submitit
        self._folder = folder
        self._cores = cores
        self._parallelism = count or _ARRAY_PARALLELISM
        self._queued: set[str] = set()
        self._last_query = -_QUERY_INTERVAL

        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
        try:
            self._executor.update_parameters(
                name="nlstm_jax",
                timeout_min=minutes,
                cpus_per_task=cores,
                gpus_per_node=gpus or None,
                slurm_array_parallelism=self._parallelism,
                **(options or {}),
            )
        except (NameError, AssertionError) as error:
            raise ConfigError(f"--engine=slurm: {' '.join(str(error).split())}") from None

    @property
    def capacity(self) -> int:
        """A number that is never reached, as SLURM's own queue holds all jobs."""
        return _UNLIMITED

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Submit the jobs as one array, or as several if the cluster does not accept such a large one.

        A job that an earlier call has submitted, and that has not ended, is not submitted again.

        Raises:
            ConfigError: SLURM refuses the jobs. Those that it has accepted are canceled.
        """
        handles: dict[str, SubmititJob] = {}
        for job in jobs:
            handle = self._find_queued(job)
            if handle is not None:
                handles[job.name] = handle

        new_jobs = [job for job in jobs if job.name not in handles]
        array_size = self._max_array_size(len(new_jobs))
        arrays = [new_jobs[start : start + array_size] for start in range(0, len(new_jobs), array_size)]
        for array in arrays:
            try:
                submitted = self._submit(array, max(self._parallelism // len(arrays), 1))
            except ConfigError:
                for handle in handles.values():
                    handle.cancel(check=False)
                raise
            for job, handle in zip(array, submitted, strict=True):
                self._id_file(job).write_text(handle.job_id, "utf-8")
                handles[job.name] = handle
        return [_SlurmProcess(self, handles[job.name]) for job in jobs]

    def close(self) -> None:
        """Do nothing, as the engine holds nothing."""

    def queued(self) -> set[str]:
        """Return the ids of the user's jobs that wait or run. They may be a few seconds old."""
        now = time.monotonic()
        if now - self._last_query > _QUERY_INTERVAL:
            result = subprocess.run(
                ["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i"], capture_output=True, text=True
            )
            if result.returncode == 0:
                self._queued = set(result.stdout.split())
                self._last_query = now
        return self._queued

    def _max_array_size(self, count: int) -> int:
        """Return the number of jobs, at least 1, that the cluster accepts as one array.

        Args:
            count: The number of jobs to be submitted. It is returned if a cluster does not tell its limit.
        """
        limit = None
        if count > 1 and shutil.which("scontrol") is not None:
            result = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
            limit = re.search(r"^MaxArraySize\s*=\s*(\d+)", result.stdout, re.MULTILINE)
        # The limit is that of the largest index plus 1, and indices begin at 0.
        return max(int(limit[1]) if limit else count, 1)

    def _submit(self, jobs: Sequence[Job], parallelism: int) -> list[SubmititJob]:
        """Submit jobs as one array, and return submitit's handles in the same order.

        Args:
            jobs: The jobs, at least one.
            parallelism: The maximum number of jobs of the array that run at a time.

        Raises:
            ConfigError: SLURM refuses the jobs.
        """
        handles: list[SubmititJob] = []
        errors = self._submitit.core.utils
        self._executor.update_parameters(slurm_array_parallelism=parallelism)
        try:
            # submitit also prints the message of sbatch.
            with contextlib.redirect_stderr(io.StringIO()), self._executor.batch():
                handles += [self._executor.submit(RemoteCommand(job, self._cores)) for job in jobs]
        except (errors.FailedJobError, errors.FailedSubmissionError) as error:
            raise ConfigError(f"--engine=slurm: {' '.join(str(error).split())}") from None
        return handles

    def _id_file(self, job: Job) -> Path:
        """Return the path of the file that holds the SLURM id of a submitted job."""
        return self._folder / f"{job.name}.id"

    def _find_queued(self, job: Job) -> SubmititJob | None:
        """Return the handle of a job that an earlier call has submitted and that has not ended, else None."""
        id_file = self._id_file(job)
        if not id_file.exists():
            return None
        job_id = id_file.read_text("utf-8")
        if job_id not in self.queued():
            return None
        return self._submitit.SlurmJob(folder=self._folder, job_id=job_id)


class _SlurmProcess:
    """A job that has been submitted to SLURM.

    It has ended when its result file exists, or when it is no longer in SLURM's queue.
    """

    def __init__(self, engine: SlurmEngine, job: SubmititJob) -> None:
        self._engine = engine
        self._job = job
        self._stopped = False
        self._missing_since: float | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the job runs or is queued."""
        if self._job.paths.result_pickle.exists():
            if self._job.exception() is not None:
                return _KILLED
            return int(self._job.result())

        if self._job.job_id in self._engine.queued():
            self._missing_since = None
            return None

        # The job may be too new to be listed, or its result file may not be visible here yet.
        now = time.monotonic()
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since < 3 * _QUERY_INTERVAL:
            return None
        return _STOPPED if self._stopped else _KILLED

    def stop(self) -> None:
        """Cancel the job."""
        self._stopped = True
        self._job.cancel(check=False)
