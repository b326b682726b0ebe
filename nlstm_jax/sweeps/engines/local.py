"""The engine for this machine: one process per slot, each on its own cores or its own GPU."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nlstm_jax.runs.environment import SHARED
from nlstm_jax.sweeps.engines.base import Job, Process

_LAUNCH = Path(__file__).with_name("launch.py")
_GPU_MEMORY = 0.9
"""The fraction of a GPU's memory that its processes share."""


class Slot(NamedTuple):
    """A slot in which one process at a time runs.

    Attributes:
        cores: The numbers of the cores on which the process may run.
        environment: The environment variables that tell JAX its devices.
    """

    cores: Sequence[int]
    environment: Mapping[str, str]


def make_slots(count: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Slot]:
    """Distribute cores and GPUs over slots.

    Slots that share a GPU share its memory evenly.

    Args:
        count: The number of slots; 0: one per GPU, or one per core if there is no GPU.
        cores: The numbers of the cores.
        gpus: The GPUs, named as in `CUDA_VISIBLE_DEVICES`.

    >>> [slot.cores for slot in make_slots(2, cores=[0, 1, 2, 3], gpus=[])]
    [[0, 2], [1, 3]]
    """
    count = count or len(gpus) or len(cores)
    slots = []
    for index in range(count):
        slot_cores = list(cores[index::count]) or [cores[index % len(cores)]]
        slots.append(Slot(slot_cores, _slot_environment(index, count, len(cores), gpus)))
    return slots


def _slot_environment(index: int, count: int, core_count: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment variables of slot `index` of `count` slots, which take the GPUs in turn."""
    if not gpus:
        environment = {"JAX_PLATFORMS": "cpu"}
        if count > core_count:
            environment[SHARED] = "1"
        return environment

    gpu_index = index % len(gpus)
    slots_on_gpu = len(range(gpu_index, count, len(gpus)))
    environment = {"CUDA_VISIBLE_DEVICES": gpus[gpu_index]}
    if slots_on_gpu > 1:
        environment[SHARED] = "1"
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_GPU_MEMORY / slots_on_gpu:.3f}"
    return environment


def visible_gpus() -> list[str]:
    """Return the GPUs that may be used, without importing JAX. There are none if `JAX_PLATFORMS` is "cpu"."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return []
    visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible_devices is not None:
        return [name for name in visible_devices.split(",") if name]
    try:
        result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except OSError:
        return []
    if result.returncode != 0:
        return []
    return [str(index) for index in range(result.stdout.count("GPU "))]


def _usable_cores() -> list[int]:
    """Return the numbers of the cores on which this process may run, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class LocalEngine:
    """An engine that runs jobs as processes of this machine."""

    def __init__(self, count: int = 0) -> None:
        """Divide the cores and GPUs of this machine into slots.

        Args:
            count: The number of slots; 0: one per GPU, or one per core if there is no GPU.
        """
        self.slots = make_slots(count, _usable_cores(), visible_gpus())
        self._processes: dict[int, _LocalProcess] = {}
        """The latest process of every slot that has been used, by the index of the slot."""

    @property
    def capacity(self) -> int:
        """The number of slots."""
        return len(self.slots)

    def close(self) -> None:
        """Do nothing, as the engine holds nothing."""

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Start each job in the first free slot."""
        return [self._start_job(job) for job in jobs]

    def _start_job(self, job: Job) -> Process:
        slot_index = next(index for index in range(self.capacity) if self._is_free(index))
        slot = self.slots[slot_index]
        cores = ",".join(map(str, slot.cores))
        launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), cores, *job.command]
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                launch,
                cwd=job.folder,
                env={**os.environ, **slot.environment, **job.environment, "NPROC": str(len(slot.cores))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # With its own session Ctrl-C reaches only the sweep, which asks its processes to stop.
                start_new_session=True,
            )
        self._processes[slot_index] = _LocalProcess(process)
        return self._processes[slot_index]

    def _is_free(self, slot_index: int) -> bool:
        """Return True if no process runs in the slot."""
        process = self._processes.get(slot_index)
        return process is None or process.ended


class _LocalProcess:
    """A process of this machine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def ended(self) -> bool:
        """True if the process has ended."""
        return self._process.poll() is not None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Send SIGTERM to the process unless it has ended."""
        if not self.ended:
            self._process.terminate()
