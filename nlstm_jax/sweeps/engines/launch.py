"""Start a command on some cores, and have it asked to stop when its parent is no more.

    python -I -S launch.py PARENT CORES COMMAND ...

Before JAX, or anything that starts threads, is imported. Imports nothing but the standard library, and little of it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, cores: str, *command: str) -> None:
    """Become the command."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, map(int, cores.split(",")))
    if hasattr(signal, "SIGUSR2"):
        # SLURM's, for the one who started this.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit(75)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
