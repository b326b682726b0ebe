"""What is set once for a whole process: memory and programs are kept, orbax is silent, other hosts are joined."""

import ctypes
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import logging

from nlstm_jax.errors import ConfigError

_PATIENCE = 240
"""Seconds that a process waits for the first one."""

_ARENA_MAX, _MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -8, -4, -2, -1


def cache_folder() -> Path:
    """Where what took time is kept from run to run: `$NLSTM_JAX_CACHE`, or `~/.cache/nlstm_jax`."""
    return Path(os.environ.get("NLSTM_JAX_CACHE", "~/.cache/nlstm_jax")).expanduser()


def tune_malloc() -> bool:
    """Have glibc's `malloc` keep freed memory in place of giving it back to the operating system.

    A training step on a CPU otherwise gets its buffers page by page from the system, every time anew: a sixth to a
    third of its time. To be called before threads are started, and so before the first computation. What the process
    has once taken stays taken.

    Returns:
        Whether it is so; False where the C library is not glibc, or `$NLSTM_JAX_KEEP_MEMORY` is 0.
    """
    if os.environ.get("NLSTM_JAX_KEEP_MEMORY") == "0":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # One heap for all threads, as the others are no larger than 64 MiB; none of it mapped apart; none given back.
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 64 << 20}
    return all(library.mallopt(name, value) for name, value in settings.items())


def enable_compilation_cache() -> None:
    """Keep compiled programs in the cache folder, for later processes: only tracing is left to do there.

    XLA takes two of its own preferences for features of the processor, and laments at length that it has not got them,
    whenever it reads a program for a CPU; with `TF_CPP_MIN_LOG_LEVEL=3` in the environment, before JAX is imported, it
    is silent. Programs that are compiled in less than 0.1 s are not kept, unless
    `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` in the environment says otherwise.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def initialize_distributed(coordinator: str = "", processes: int = 0, process: int = -1) -> None:
    """Become one of several processes that share all their devices (`jax.distributed`), before JAX is used.

    Without arguments SLURM's steps of several tasks and TPU pods are found out; any other process stays by itself.

    Args:
        coordinator: address and port of the first process, `node1:9876`.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        ConfigError: some of the three without the others, or a number out of its bounds; no process answers there.
    """
    given = {"coordinator": bool(coordinator), "processes": processes > 0, "process": process >= 0}
    if any(given.values()) and not all(given.values()):
        missing = next(name for name, is_given in given.items() if not is_given)
        raise ConfigError(
            f"--{missing}: expected with {' and '.join(f'--{n}' for n in given if given[n])}, found none"
        )
    if process >= processes > 0:
        raise ConfigError(f"--process: 0 to {processes - 1}, of --processes={processes}, expected, found {process}")
    in_slurm = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1
    in_pod = "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    # Its own handler would swallow a signal that comes before this project's is in place.
    jax.config.update("jax_enable_preemption_service", False)
    if coordinator:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ConfigError(f"--coordinator: an address and a port, node1:9876, expected, found {coordinator}")
        print(f"waiting for {processes} processes at {coordinator}", file=sys.stderr, flush=True)
        if process:
            _await(host, int(port))
        jax.distributed.initialize(coordinator, processes, process)
    elif in_slurm or in_pod:
        jax.distributed.initialize()


def _await(host: str, port: int) -> None:
    """Until the first process answers: JAX itself would end the process with a core dump where none does."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except socket.gaierror as error:
            raise ConfigError(f"--coordinator: an address that is known expected, found {host}: {error}") from None
        except OSError as error:
            if time.monotonic() > end:
                raise ConfigError(f"--coordinator: no process answers at {host}:{port}: {error}") from None
            time.sleep(0.2)
        else:
            return


def shutdown_distributed() -> None:
    """Before a process ends by itself: one that goes before the others have come to their end would end them."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def silence_orbax() -> None:
    """Keep off the console what orbax has to say of checkpoints: it warns of each that it is asked to only read."""
    logging.set_verbosity(logging.ERROR)
    sys.unraisablehook = _pass_over_orbax


def _pass_over_orbax(unraisable: Any) -> None:
    """After a checkpoint that cannot be read, orbax closes its event loop under reads still under way."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
