"""One writer a folder."""

import fcntl
import os
import platform
from pathlib import Path
from typing import IO

from nlstm_jax.errors import RunFolderInUseError
from nlstm_jax.runs import files


def acquire_lock(folder: Path, what: str = "run folder") -> IO[str]:
    """Lock a folder until the file returned is closed, or the process ends in whatever way.

    Raises:
        RunFolderInUseError: another process holds it; the message says which.
    """
    lock = (folder / files.LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise RunFolderInUseError(f"{folder}: {holder} is writing to this {what}") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {platform.node()}\n")
    lock.flush()
    return lock
