"""Delay Ctrl-C and SIGTERM until the compiled call in progress has ended."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class GracefulShutdown:
    """A context manager that records the first SIGINT or SIGTERM instead of ending the process.

    A second signal ends the process as usual. Outside the main thread no signal is recorded.

    Attributes:
        requested: True once a signal has arrived.
    """

    requested = False

    def __enter__(self) -> Self:
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                self._previous[signal_number] = signal.signal(signal_number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle the first signal."""
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        """Restore the signal handlers that were active before."""
        for signal_number, handler in self._previous.items():
            signal.signal(signal_number, handler)
        self._previous = {}
