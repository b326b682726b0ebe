"""Processes as `python -m` and `python -c` start them, without the seconds that each takes to import JAX.

A server imports JAX and the project once and forks for every process, before JAX starts threads.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SERVER = """
import atexit, gc, json, os, runpy, sys, traceback, warnings

code = 0

def leave_at_once():
    # Python would free every object that it has inherited, which takes as long as a short script runs.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

# What is registered first runs last.
atexit.register(leave_at_once)
import experiments.command, nlstm_jax.training
gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        pid, status = os.waitpid(job["wait"], 0 if job["block"] else os.WNOHANG)
        print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)
        continue
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child:
        print(child, flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{job['folder']}/{end}", os.O_CREAT | os.O_WRONLY), stream)
    os.environ.clear()
    os.environ.update(job["environment"])
    try:
        if job["script"]:
            sys.argv = [job["script"], *job["arguments"]]
            runpy.run_module(f"experiments.{job['script']}", run_name="__main__", alter_sys=True)
        else:
            sys.argv = ["-c", *job["arguments"]]
            exec(job["code"], {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.exit()
"""


class Ended(NamedTuple):
    """What a process leaves behind."""

    code: int
    out: str
    err: str


class ForkServer:
    """Starts scripts of `experiments/` and pieces of code."""

    def __init__(self) -> None:
        """The server itself starts when it is first asked for a process."""
        self._server: subprocess.Popen | None = None

    def start(self, folder: Path, *arguments: str, script: str = "", code: str = "") -> "Process":
        """Start a script or a piece of code.

        Args:
            folder: a new one for what it writes to stdout and stderr.
            arguments: of its command line.
            script: its name in `experiments/`.
            code: that is run where there is no script.
        """
        environment = {**os.environ, "COLUMNS": "120"}
        job = {"folder": str(folder), "environment": environment, "script": script, "code": code}
        return Process(self, int(self.ask({**job, "arguments": arguments})), folder)

    def ask(self, job: dict) -> str:
        """Send a job to the server, and return its answer."""
        if self._server is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            command = [sys.executable, "-c", SERVER]
            self._server = subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **pipes)
        try:
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            return self._server.stdout.readline().strip()
        except BaseException:
            # A test that has run out of time leaves an answer that nobody reads.
            self.close()
            raise

    def close(self) -> None:
        """Stop the server, and with it processes that still run."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()
            self._server = None


class Process:
    """A process that has been started, used as `subprocess.Popen` is."""

    def __init__(self, server: ForkServer, pid: int, folder: Path) -> None:
        """Take up a process by its id."""
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._folder = folder

    def poll(self, *, block: bool = False) -> int | None:
        """The exit code, or None as long as the process runs."""
        if self.returncode is None:
            status = self._server.ask({"wait": self.pid, "block": block})
            self.returncode = int(status) if status else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for its end."""
        self.poll(block=True)
        return Ended(self.returncode, *((self._folder / end).read_text("utf-8") for end in ("out", "err")))
