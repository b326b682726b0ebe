"""The form in which a job is sent to another machine.

The other machine shares the folder of the sweep. It does not need to have this package installed.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from nlstm_jax.sweeps.engines.base import Job

_LAUNCH = Path(__file__).with_name("launch.py").read_text("utf-8")


class RemoteCommand:
    """A callable that runs a job on the machine where it is called, and returns the exit code.

    It is pickled by value.
    """

    def __init__(self, job: Job, cores: int) -> None:
        """Copy the job's parts as plain values.

        Args:
            job: The job.
            cores: The number of cores of the job. JAX starts as many threads.
        """
        self.command = list(job.command)
        self.folder = str(job.folder)
        self.log = str(job.log)
        # XLA reads NPROC; without it the number of threads, and so the rounding of sums, depends on the machine.
        self.environment = {**job.environment, "NPROC": str(cores)}
        self.launch = _LAUNCH

    def __call__(self) -> int:
        """Start the process, wait for it, and return its exit code.

        A KeyboardInterrupt is passed on to the process as SIGTERM, and the process is waited for.
        """
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

    def checkpoint(self) -> object:
        """Stop the process, and return a submission that queues this job again.

        submitit calls this method shortly before a job's time is over, or when the job is preempted.
        """
        import submitit

        self._stop()
        # A process cannot be pickled.
        del self.process
        return submitit.helpers.DelayedSubmission(self)

    def _stop(self) -> None:
        """Send SIGTERM to the process, and wait until it has ended.

        A signal handler may call this while it interrupts `Popen.wait`, which holds a lock. So `os.waitid` waits here,
        and leaves the exit code to be read later.
        """
        self.process.terminate()
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
