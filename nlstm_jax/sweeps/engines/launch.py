"""Start a command on given cores, and have the system send it SIGTERM when its parent process ends.

    python -I -S launch.py PARENT CORES COMMAND ...

PARENT is the process id of the parent. CORES are the numbers of the cores, separated by commas; empty: any core.

This has to happen before JAX, or anything else that starts threads, is imported. The script imports only a small part
of the standard library.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PARENT_ENDED = 75
"""The exit code for a parent that has ended before the command was started."""


def main(parent: str, cores: str, *command: str) -> None:
    """Replace this process by the command.

    Args:
        parent: The process id of the parent.
        cores: The numbers of the cores, separated by commas; empty: any core.
        command: The command, an absolute path, with its arguments.
    """
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if hasattr(signal, "SIGUSR2"):
        # SLURM sends SIGUSR2 to all processes of a job; only the parent handles it.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit(_PARENT_ENDED)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
