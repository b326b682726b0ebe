"""Ctrl-C and SIGTERM as a wish that is granted between two compiled calls."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class GracefulShutdown:
    """A context manager; `requested` turns true at the first signal, a second one ends the process as usual."""

    requested = False

    def __enter__(self) -> Self:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
