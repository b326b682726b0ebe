"""One writer a run folder."""

import fcntl
from pathlib import Path
from typing import IO

from nlstm_jax.errors import RunFolderInUseError
from nlstm_jax.runs import files


def hold(folder: Path) -> IO[str]:
    """Lock a run folder until the file returned is closed, or the process ends in whatever way.

    Raises:
        RunFolderInUseError: another process holds it.
    """
    lock = (folder / files.LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise RunFolderInUseError(f"{folder}: another process is writing to this run folder") from None
    return lock
