"""A lock that allows only one process to write to a folder."""

import fcntl
import os
import platform
from pathlib import Path
from typing import IO

from nlstm_jax.errors import RunFolderInUseError
from nlstm_jax.runs import files


def acquire_lock(folder: Path, what: str = "run folder") -> IO[str]:
    """Lock a folder, and return the open lock file.

    The lock is held until the file is closed or the process ends, however it ends.

    Args:
        folder: The folder to lock.
        what: The name of the folder's kind in the error message.

    Raises:
        RunFolderInUseError: Another process holds the lock; the message names the process.
    """
    lock_file = (folder / files.LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock_file.seek(0)
        holder = lock_file.read().strip() or "another process"
        lock_file.close()
        raise RunFolderInUseError(f"{folder}: {holder} is writing to this {what}") from None

    lock_file.truncate(0)
    lock_file.write(f"process {os.getpid()} on {platform.node()}\n")
    lock_file.flush()
    return lock_file
