"""What is set once for a whole process: freed memory is kept, compiled programs are kept, orbax is silent."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import jax
from absl import logging

_ARENA_MAX, _MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -8, -4, -2, -1


def cache_folder() -> Path:
    """Where what took time is kept from run to run: `$NLSTM_JAX_CACHE`, or `~/.cache/nlstm_jax`."""
    return Path(os.environ.get("NLSTM_JAX_CACHE", "~/.cache/nlstm_jax")).expanduser()


def keep_memory() -> bool:
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


def keep_programs() -> None:
    """Keep compiled programs in the cache folder, for later processes: only tracing is left to do there.

    XLA takes two of its own preferences for features of the processor, and laments at length that it has not got them,
    whenever it reads a program for a CPU; with `TF_CPP_MIN_LOG_LEVEL=3` in the environment, before JAX is imported, it
    is silent.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def silence_orbax() -> None:
    """Keep off the console what orbax has to say of checkpoints: it warns of each that it is asked to only read."""
    logging.set_verbosity(logging.ERROR)
    sys.unraisablehook = _pass_over_orbax


def _pass_over_orbax(unraisable: Any) -> None:
    """After a checkpoint that cannot be read, orbax closes its event loop under reads still under way."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
