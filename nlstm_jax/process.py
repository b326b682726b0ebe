"""The state of a whole process: malloc, compilation cache, `jax.distributed`, orbax's log output, and signals."""

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import jax
from absl import logging

from nlstm_jax.errors import ConfigError, InterruptedRunError

_PATIENCE = 240
"""The number of seconds that a process waits for the first process (the coordinator)."""

# The parameters M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX and M_ARENA_MAX of glibc's `mallopt`.
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4
_ARENA_MAX = -8


def cache_folder() -> Path:
    """Return the folder of the caches that all runs share: `$NLSTM_JAX_CACHE`, or `~/.cache/nlstm_jax`."""
    return Path(os.environ.get("NLSTM_JAX_CACHE", "~/.cache/nlstm_jax")).expanduser()


def tune_malloc() -> bool:
    """Make glibc's `malloc` keep freed memory instead of returning it to the operating system.

    Otherwise every training step on a CPU gets its buffers from the system again, page by page. This takes a sixth to
    a third of the time of a step. Call this function before any thread is started, so before the first computation.
    The process then never shrinks: memory that it has once allocated stays with it.

    Returns:
        True if all settings were accepted. False if the C library is not glibc, or if `$NLSTM_JAX_KEEP_MEMORY` is 0.
    """
    if os.environ.get("NLSTM_JAX_KEEP_MEMORY") == "0":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # All threads share one heap, as the heaps of further arenas are limited to 64 MiB. No allocation has a memory
    # mapping of its own, and no memory is returned to the system.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20}
    return all(library.mallopt(name, value) for name, value in settings.items())


def enable_compilation_cache() -> None:
    """Store compiled programs in the cache folder, so that later processes trace them but do not compile them.

    Whenever XLA loads a program for a CPU from the cache, it logs long warnings about two missing features of the
    processor. In fact these are two of XLA's own code generation preferences. Set `TF_CPP_MIN_LOG_LEVEL=3` in the
    environment before JAX is imported to silence the warnings. Programs that compile in less than 0.1 s are not
    stored, unless `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` is set in the environment.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def initialize_distributed(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Join several processes that share all their devices (`jax.distributed`). Call this before JAX is used.

    Without arguments, a SLURM step with several tasks and a TPU pod are detected from the environment. Any other
    process runs on its own.

    Args:
        coordinator: The address and port of the first process, such as `node1:9876`.
        processes: The number of processes.
        process: The index of this process, from 0.

    Raises:
        ConfigError: Some of the three arguments are missing, a number is out of bounds, or no process answers at the
            address.
    """
    is_given = {"coordinator": bool(coordinator), "processes": processes > 0, "process": process >= 0}
    present = [f"--{name}" for name in is_given if is_given[name]]
    missing = [f"--{name}" for name in is_given if not is_given[name]]
    if present and missing:
        raise ConfigError(f"{missing[0]}: expected with {' and '.join(present)}, found none")
    if process >= processes > 0:
        raise ConfigError(f"--process: 0 to {processes - 1}, of --processes={processes}, expected, found {process}")

    # JAX's own signal handler would swallow a signal that arrives before this project's handler is installed.
    jax.config.update("jax_enable_preemption_service", False)

    is_slurm_step = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    is_tpu_pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    if coordinator:
        host, port = _parse_address(coordinator)
        print(f"waiting for {processes} processes at {coordinator}", file=sys.stderr, flush=True)
        if process:
            _wait_for_coordinator(host, port)
        jax.distributed.initialize(coordinator, processes, process)
    elif is_slurm_step or is_tpu_pod:
        jax.distributed.initialize()


def _parse_address(coordinator: str) -> tuple[str, int]:
    """Split an address such as `node1:9876` into host and port.

    Raises:
        ConfigError: There is no host, or the port is not a number from 1 to 65,535.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"--coordinator: an address and a port, node1:9876, expected, found {coordinator}")
    return host, int(port)


def _wait_for_coordinator(host: str, port: int) -> None:
    """Wait until the first process accepts connections.

    Without this, JAX would end the process with a core dump if no process answers.

    Raises:
        ConfigError: The host is unknown, or no process answers in time.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except socket.gaierror as error:
            raise ConfigError(f"--coordinator: an address that is known expected, found {host}: {error}") from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigError(f"--coordinator: no process answers at {host}:{port}: {error}") from None
            time.sleep(0.2)
        else:
            return


def shutdown_distributed() -> None:
    """Leave `jax.distributed` before the process exits, if it was joined.

    A process that exits without this call, before the others have finished, would end them too.
    """
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def silence_orbax() -> None:
    """Suppress what orbax logs about checkpoints.

    It warns about every checkpoint that is opened only for reading, and logs every error that it also raises. After
    a checkpoint that cannot be written, it drops the writes that it has not begun, about which Python warns.
    """
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", message="coroutine '.*' was never awaited", category=RuntimeWarning)
    sys.unraisablehook = _ignore_closed_event_loop


def _ignore_closed_event_loop(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report an exception that cannot be raised, unless it comes from an array that orbax cannot read.

    If a checkpoint cannot be read, orbax closes its event loop while other reads are still in progress, and those
    reads fail later.
    """
    message = str(unraisable.exc_value)
    if "Event loop is closed" not in message and not message.startswith("Encountered error while reading array"):
        sys.__unraisablehook__(unraisable)


class GracefulShutdown:
    """A context manager that records the first SIGINT or SIGTERM instead of ending the process.

    A second signal ends the process. Outside the main thread no signal is recorded.

    Attributes:
        requested: True once a signal has arrived.
    """

    requested = False

    def __init__(self, *, at_once: bool = False) -> None:
        """Create the manager.

        Args:
            at_once: Whether a second signal ends the process within a compiled call, with the exit code of an
                interruption. Otherwise Python's own handler waits for the end of the call, and cleans up.
        """
        self._at_once = at_once
        self._pipe: tuple[int, int] | None = None
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | signal.Handlers | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            self._previous[signal_number] = signal.signal(signal_number, self._request)
        if self._at_once:
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._previous_pipe = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            threading.Thread(target=_leave_at_second_signal, args=(self._pipe[0],), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            signal.set_wakeup_fd(self._previous_pipe)
            os.close(self._pipe[1])
            self._pipe = None
        self._restore()

    def _request(self, signal_number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.requested = True
        if not self._at_once:
            self._restore()

    def _restore(self) -> None:
        """Restore the signal handlers that were active before."""
        for signal_number, handler in self._previous.items():
            signal.signal(signal_number, handler)
        self._previous = {}


def _leave_at_second_signal(pipe: int) -> None:
    """End the process at the second signal whose number comes out of a pipe; return when the pipe is closed.

    Python writes the numbers into the pipe at once. It calls signal handlers only between two instructions of the main
    thread, and a compiled call is one.
    """
    with open(pipe, "rb", buffering=0) as numbers:
        seen = 0
        while number := numbers.read(1):
            seen += number[0] in (signal.SIGINT, signal.SIGTERM)
            if seen > 1:
                os.write(2, b"interrupted again: the same command goes on from the last checkpoint\n")
                os._exit(InterruptedRunError.exit_code)
