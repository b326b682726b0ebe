"""Processes that run like `python -m` and `python -c`, but without the seconds that each needs to import JAX.

A server imports JAX and the project once, and forks for every process. It forks before JAX starts any threads.
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
    # A normal exit would free every inherited object, which takes as long as a short script.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

# The function that is registered first runs last.
atexit.register(leave_at_once)
import nlstm_jax.command, nlstm_jax.training
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
    """The result of a process that has ended.

    Attributes:
        code: The exit code; negative for a signal.
        out: The text on stdout.
        err: The text on stderr.
    """

    code: int
    out: str
    err: str


class ForkServer:
    """A client of the server process, which starts scripts of `experiments/` and pieces of Python code."""

    def __init__(self) -> None:
        """Create the client. The server process starts with the first request."""
        self._server: subprocess.Popen | None = None

    def start(self, folder: Path, *arguments: str, script: str = "", code: str = "") -> "Process":
        """Start a script or a piece of code.

        Args:
            folder: A new folder for the files of stdout and stderr.
            *arguments: The arguments on the command line.
            script: The name of the script in `experiments/`; empty to run `code`.
            code: The Python code to run if there is no script.
        """
        environment = {**os.environ, "COLUMNS": "120"}
        job = {
            "folder": str(folder),
            "environment": environment,
            "script": script,
            "code": code,
            "arguments": arguments,
        }
        pid = int(self.ask(job))
        return Process(self, pid, folder)

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
            # A test that times out leaves an unread answer, so this server cannot be used any more.
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and all processes that still run."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()
            self._server = None


class Process:
    """A started process, with an interface like that of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int, folder: Path) -> None:
        """Refer to a process by its id.

        Args:
            server: The server that started the process.
            pid: The id of the process.
            folder: The folder with the files of its stdout and stderr.
        """
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._folder = folder

    def poll(self, *, block: bool = False) -> int | None:
        """Return the exit code, or None if the process still runs. With `block` wait for its end first."""
        if self.returncode is None:
            status = self._server.ask({"wait": self.pid, "block": block})
            self.returncode = int(status) if status else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Wait for the end of the process, and return its result."""
        self.poll(block=True)
        out = (self._folder / "out").read_text("utf-8")
        err = (self._folder / "err").read_text("utf-8")
        return Ended(self.returncode, out, err)
