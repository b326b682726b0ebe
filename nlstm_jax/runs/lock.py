"""A lock that allows only one process to write to a folder."""

import fcntl
import os
import platform
import time
from pathlib import Path
from typing import IO

from nlstm_jax.errors import RunFolderInUseError
from nlstm_jax.runs import files

_ATTEMPTS = 3
_WAIT = 0.05
"""Seconds between two attempts to lock a folder."""


def acquire_lock(folder: Path, what: str = "run folder") -> IO[str]:
    """Lock a folder, and return the open lock file.

    The lock is held until the file is closed or the process ends, however it ends.

    Args:
        folder: The folder to lock.
        what: The name of the folder's kind in the error message.

    Raises:
        RunFolderInUseError: Another process holds the lock; the message names the process.
        StorageError: The lock file cannot be written.
    """
    with files.writing(folder / files.LOCK):
        lock_file = (folder / files.LOCK).open("a+", encoding="utf-8")
    if not _try_to_lock(lock_file):
        lock_file.seek(0)
        holder = lock_file.read().strip() or "another process"
        lock_file.close()
        raise RunFolderInUseError(f"{folder}: {holder} is writing to this {what}") from None

    with files.writing(folder / files.LOCK):
        lock_file.truncate(0)
        lock_file.write(f"process {os.getpid()} on {platform.node()}\n")
        lock_file.flush()
    return lock_file


def is_locked(folder: Path) -> bool:
    """Return True if a process is writing to a folder. A folder that cannot be read counts as not locked."""
    try:
        with (folder / files.LOCK).open("r", encoding="utf-8") as lock_file:
            fcntl.flock(lock_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _try_to_lock(lock_file: IO[str]) -> bool:
    """Lock a file. A short wait passes over `is_locked` of other processes, which hold the lock for an instant."""
    for _ in range(_ATTEMPTS):
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_WAIT)
        else:
            return True
    return False
