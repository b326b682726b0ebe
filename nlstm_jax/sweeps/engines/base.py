"""What an engine is: it runs a command in a folder, somewhere, and says how that ended."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Job(NamedTuple):
    """A process to be.

    Attributes:
        name: of the job.
        command: with its arguments.
        folder: where it is started.
        log: the file that its output is appended to.
        environment: variables beside those that there are.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]


class Process(Protocol):
    """A job that has been started."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it goes on, or waits for its turn elsewhere."""

    def stop(self) -> None:
        """Ask it to stop: a training run then writes a checkpoint."""


class Engine(Protocol):
    """Where jobs run."""

    @property
    def places(self) -> int:
        """How many jobs it takes at a time."""

    def start(self, jobs: Sequence[Job]) -> list[Process]:
        """Start jobs; never more than `places` are going."""

    def close(self) -> None:
        """Let go of what the engine holds."""
