"""The console display of a running sweep: a live table in a terminal, else one line per change of state."""

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from nlstm_jax.sweeps import table
from nlstm_jax.sweeps.queue import QueuedTrial


class LiveDisplay:
    """A display of the trials of a sweep; a context manager that is called with all trials again and again."""

    def __init__(self, console: Console) -> None:
        """Set the console. Nothing is shown yet.

        Args:
            console: The console. The live table is used if it is a terminal.
        """
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._states: dict[str, str] = {}
        """The state of every trial as last shown, by name."""

    def __call__(self, entries: Sequence[QueuedTrial]) -> None:
        """Show the current state of all trials."""
        if self._live is not None:
            height = shutil.get_terminal_size().lines
            self._live.update(table.progress_table(entries, height), refresh=True)
            return

        for entry in entries:
            shown_state = self._states.setdefault(entry.trial.name, "waiting")
            if entry.state != shown_state:
                self._states[entry.trial.name] = entry.state
                self._console.print(table.describe_trial(entry), markup=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._console.print()
