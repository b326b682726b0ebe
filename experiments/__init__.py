"""Command-line scripts, run as `python -m experiments.NAME` from the repository's root, or as `nlstm NAME`."""

import os
import signal
import sys
from types import FrameType

# This must be set before JAX is imported, whose own default is 1; see `nlstm_jax.process.enable_compilation_cache`.
# Nothing is lost, as every error is also raised as an exception.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def _leave_while_importing(signal_number: int, frame: FrameType | None) -> None:
    """End the process with one line and the exit code of an interruption, until `command.run` has taken over."""
    os.write(2, b"interrupted\n")
    os._exit(75)


# `python -m` imports this package before its script, with "-m" as the name of the program.
if os.path.basename(sys.argv[0]) in ("-m", "nlstm"):
    signal.signal(signal.SIGINT, _leave_while_importing)
