"""This machine: one process a slot, each on its own cores or its own GPU."""

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
"""The part of a GPU's memory that processes share."""


class Slot(NamedTuple):
    """A place for one process.

    Attributes:
        cores: that it may run on; none: any.
        environment: what tells JAX of its devices.
    """

    cores: Sequence[int]
    environment: Mapping[str, str]


def slots(count: int, cores: Sequence[int], gpus: Sequence[str]) -> list[Slot]:
    """Slots over GPUs, or over cores where there is no GPU.

    Args:
        count: how many; 0: one a GPU, else one a core. More than GPUs share their memory evenly.
        cores: by number.
        gpus: as in `CUDA_VISIBLE_DEVICES`.

    >>> [slot.cores for slot in slots(2, cores=[0, 1, 2, 3], gpus=[])]
    [[0, 2], [1, 3]]
    """
    count = count or len(gpus) or len(cores)
    places = []
    for index in range(count):
        own = list(cores[index::count]) or [cores[index % len(cores)]]
        if not gpus:
            shared = {SHARED: "1"} if count > len(cores) else {}
            places.append(Slot(own, {"JAX_PLATFORMS": "cpu"} | shared))
            continue
        sharing = len(range(index % len(gpus), count, len(gpus)))
        environment = {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]}
        if sharing > 1:
            environment[SHARED] = "1"
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{_GPU_MEMORY / sharing:.3f}"
        places.append(Slot(own, environment))
    return places


def gpus_here() -> list[str]:
    """The GPUs that may be used, without importing JAX; none where `JAX_PLATFORMS` says cpu."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except OSError:
        return []
    return [str(index) for index in range(listed.stdout.count("GPU "))] if listed.returncode == 0 else []


class LocalEngine:
    """Processes of this machine."""

    def __init__(self, count: int = 0) -> None:
        """Find the slots.

        Args:
            count: 0: one a GPU, else one a core.
        """
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        self.slots = slots(count, list(cores), gpus_here())
        self._taken: dict[int, _LocalProcess] = {}

    @property
    def places(self) -> int:
        """The number of slots."""
        return len(self.slots)

    def close(self) -> None:
        """Nothing is held."""

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Start each in the first free slot."""
        return [self._start(job) for job in jobs]

    def _start(self, job: Job) -> Process:
        free = (index for index in range(self.places) if (held := self._taken.get(index)) is None or held.ended)
        index = next(free)
        slot = self.slots[index]
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
                # Ctrl-C reaches the sweep alone, which asks its processes to stop.
                start_new_session=True,
            )
        self._taken[index] = _LocalProcess(process)
        return self._taken[index]


class _LocalProcess:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        if not self.ended:
            self._process.terminate()
