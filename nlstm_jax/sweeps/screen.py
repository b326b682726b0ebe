"""What a sweep says while it goes on: a live table in a terminal, a line for every change elsewhere."""

import shutil
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from nlstm_jax.sweeps import table
from nlstm_jax.sweeps.queue import QueuedTrial


class LiveDisplay:
    """A context manager; call it with all entries, again and again."""

    def __init__(self, console: Console) -> None:
        """Nothing is shown yet."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._states: dict[str, str] = {}

    def __call__(self, entries: Sequence[QueuedTrial]) -> None:
        """Show how things are."""
        if self._live is not None:
            self._live.update(table.going(entries, shutil.get_terminal_size().lines), refresh=True)
            return
        for entry in entries:
            before = self._states.setdefault(entry.trial.name, "waiting")
            if entry.state != before:
                self._states[entry.trial.name] = entry.state
                self._console.print(table.line(entry), markup=False)

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
