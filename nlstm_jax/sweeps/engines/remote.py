"""A job as it is sent to another machine, which shares the sweep's folder and need not have this package."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from nlstm_jax.sweeps.engines.base import Job

_LAUNCH = Path(__file__).with_name("launch.py").read_text("utf-8")


class RemoteCommand:
    """Runs a job where it is called, and returns its exit code; to be pickled by value."""

    def __init__(self, job: Job, cores: int) -> None:
        """Take what is plain of the job.

        Args:
            job: the job.
            cores: how many it has; JAX starts as many threads.
        """
        self.command, self.folder, self.log = list(job.command), str(job.folder), str(job.log)
        # Read by XLA, which would go by the machine's cores: with more threads sums are rounded otherwise.
        self.environment = {**job.environment, "NPROC": str(cores)}
        self.launch = _LAUNCH

    def __call__(self) -> int:
        """Start it and wait; an interruption is handed on, and waited for."""
        launch = [sys.executable, "-I", "-S", "-c", self.launch, str(os.getpid()), ""]
        with open(self.log, "ab") as file:
            self.process = subprocess.Popen(
                [*launch, *self.command],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            return self.process.wait()
        except KeyboardInterrupt:
            self._stop()
            return self.process.wait()

    def checkpoint(self) -> Any:
        """What submitit calls shortly before a job's time is over, or when it is preempted: stop, and queue again."""
        import submitit

        self._stop()
        # A process cannot be pickled.
        del self.process
        return submitit.helpers.DelayedSubmission(self)

    def _stop(self) -> None:
        """Ask the process to stop, and wait; also from a signal's handler that has interrupted `wait`, which locks."""
        self.process.terminate()
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
