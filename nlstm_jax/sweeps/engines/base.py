"""The interface of an engine, which runs commands in folders and reports their exit codes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Job(NamedTuple):
    """A description of a process to be started.

    Attributes:
        name: The name of the job, unique within the sweep.
        command: The command with its arguments.
        folder: The working folder of the process.
        log: The file to which the output of the process is appended.
        environment: The environment variables that are set in addition to the existing ones.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]


class Process(Protocol):
    """A job that has been started."""

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs or is queued."""

    def stop(self) -> None:
        """Ask the process to stop. A training run then writes a checkpoint."""


class Engine(Protocol):
    """A machine or cluster on which jobs run."""

    @property
    def capacity(self) -> int:
        """The maximum number of jobs at a time."""

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Start jobs, and return their processes in the same order.

        The caller never has more than `capacity` jobs running.
        """

    def close(self) -> None:
        """Release everything that the engine holds."""
