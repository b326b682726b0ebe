"""A case, and what the cases share: a folder for each, processes, and runs that were never disturbed."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import Ended, ForkServer, Process

CLOCK = ("wall_seconds", "examples_per_second", "tokens_per_second")
TIME_LIMIT = 240.0
"""The seconds after which a process counts as hanging."""


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        row: The number of the row in the table.
        name: The name, unique in the row.
        check: Does the fault in a new folder, and returns what was seen; an AssertionError if it is not as expected.
        left_out: The reason why the case cannot be run here; empty if it can.
    """

    row: int
    name: str
    check: Callable[["Bench", Path], str]
    left_out: str = ""


class Bench:
    """The processes and folders of all cases."""

    def __init__(self, work: Path) -> None:
        """Take a work folder; nothing is started yet."""
        self.work = work
        self._server = ForkServer()
        self._count = 0

    def close(self) -> None:
        """Stop all processes."""
        self._server.close()

    def start(self, script: str, *arguments: object) -> Process:
        """Start a script of `experiments/`."""
        self._count += 1
        folder = self.work / "output" / str(self._count)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return self._server.start(folder, *map(str, arguments), script=script)

    def run(self, script: str, *arguments: object) -> Ended:
        """Run a script to its end."""
        return finish(self.start(script, *arguments))

    def undisturbed(self, name: str, script: str, *arguments: object) -> Path:
        """Return the folder of a run with these arguments that nothing has disturbed; it is made once."""
        workdir = self.work / "undisturbed" / name
        done = workdir.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(workdir, ignore_errors=True)
            workdir.parent.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            ended = self.run(script, *arguments, f"--workdir={workdir}")
            assert ended.code == 0, f"undisturbed run: {ended.err}"
            done.write_text(str(time.monotonic() - started), "utf-8")
        return workdir

    def seconds(self, name: str) -> float:
        """Return the seconds that an undisturbed run took."""
        return float((self.work / "undisturbed" / f"{name}.done").read_text("utf-8"))


def finish(process: Process, seconds: float = TIME_LIMIT) -> Ended:
    """Wait for the end of a process; one that does not end in time is an AssertionError."""
    until = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > until:
            process.send_signal(9)
            process.wait()
            raise AssertionError(f"a process did not end within {seconds:.0f} s")
        time.sleep(0.01)
    return process.wait()


def one_line(ended: Ended, code: int) -> str:
    """Return the only line on stderr of a process that ended with an exit code."""
    lines = ended.err.splitlines()
    assert (ended.code, len(lines)) == (code, 1), f"exit code {ended.code}: {ended.err[-500:]}"
    return lines[0]


def metrics(workdir: Path) -> dict[str, list[dict]]:
    """Return the lines of metrics of all runs in a folder, without the clock, by the folder of the run."""
    rows = {}
    for path in sorted(workdir.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        without_clock = [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]
        rows[str(path.parent.relative_to(workdir))] = without_clock
    return rows


def assert_equal_metrics(workdir: Path, expected: Path) -> None:
    """Compare all runs of two folders, bit for bit."""
    ours = metrics(workdir)
    theirs = metrics(expected)
    assert ours.keys() == theirs.keys(), f"runs {sorted(ours)}, expected {sorted(theirs)}"
    for name, rows in ours.items():
        steps = [(row["step"], row["split"]) for row in rows]
        expected_steps = [(row["step"], row["split"]) for row in theirs[name]]
        assert steps == expected_steps, f"{name}: lines of the steps {steps}"
        assert rows == theirs[name], f"{name}: other metrics than those of the undisturbed run"


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """Return so many cases, evenly spread."""
    if len(cases) <= count:
        return list(cases)
    return [cases[index * len(cases) // count] for index in range(count)]
