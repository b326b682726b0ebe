"""The trials of a sweep, one job after the other, until all have ended."""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlstm_jax.errors import ConfigError, DataError, InterruptedRunError, RunFolderInUseError
from nlstm_jax.sweeps.engines.base import Engine, Job, Process
from nlstm_jax.sweeps.folder import CODE, SweepFolder
from nlstm_jax.sweeps.progress import TrialProgress, progress_of
from nlstm_jax.sweeps.sources import Source
from nlstm_jax.sweeps.space import Trial

_MISTAKES = (ConfigError.exit_code, DataError.exit_code)
"""Exit codes of what would fail again."""
_PAUSE = 0.2
_LOOK = 1.0
"""Seconds between two readings of a run folder: there may be hundreds, on a disk far away."""
_IN_USE_PAUSE = 1.0
_LAST_LINES = 5


@dataclass
class QueuedTrial:
    """A trial in the queue.

    Attributes:
        trial: what it is.
        state: waiting, running, finished, diverged, pruned or failed.
        failures: how often its process has failed.
        seconds: that its processes took, start-up included.
        pruned: whether it has been asked to stop, as there is no hope for it.
        said: for a failed one the last lines of its log.
    """

    trial: Trial
    state: str = "waiting"
    progress: TrialProgress = field(default_factory=TrialProgress)
    failures: int = 0
    seconds: float = 0.0
    pruned: bool = False
    said: str = ""
    not_before: float = 0.0

    @property
    def going(self) -> bool:
        """Whether something is left to do."""
        return self.state in ("waiting", "running")


@dataclass
class RunningJob:
    """A job that has been started."""

    name: str
    entries: list[QueuedTrial]
    process: Process
    begun: float
    looked: float = 0.0
    stopped: bool = False


class Queue:
    """Hands jobs to an engine and settles what comes back, by the run folders."""

    def __init__(
        self,
        folder: SweepFolder,
        source: Source,
        engine: Engine,
        *,
        retries: int,
        show: Callable[[Sequence[QueuedTrial]], None],
    ) -> None:
        """Nothing is started yet.

        Args:
            folder: held.
            source: of the trials.
            engine: where they run.
            retries: how often a trial may fail and be tried again.
            show: called again and again with all entries.
        """
        self._folder, self._source, self._engine, self._retries, self._show = folder, source, engine, retries, show
        self._groups: list[list[QueuedTrial]] = []
        self._going: list[RunningJob] = []

    @property
    def entries(self) -> list[QueuedTrial]:
        """All trials so far."""
        return [entry for group in self._groups for entry in group]

    def run(self, interrupted: Callable[[], bool]) -> bool:
        """Until nothing is left to do, or `interrupted()`: then all processes are asked to stop, and waited for.

        Returns:
            Whether it came to its end.
        """
        stopping = False
        while True:
            if interrupted() and not stopping:
                stopping = True
                for going in self._going:
                    going.process.stop()
            if not stopping:
                self._add()
                self._start()
            self._show(self.entries)
            idle = self._source.done and not any(entry.going for entry in self.entries)
            if not self._going and (stopping or idle):
                return not stopping
            time.sleep(_PAUSE)
            for going in list(self._going):
                self._look(going, stopping)

    def _add(self) -> None:
        """Take trials from the source, with what earlier calls have left of them."""
        free = self._engine.places - len(self._going) - sum(_is_waiting(group) for group in self._groups)
        groups = [[QueuedTrial(trial) for trial in group] for group in self._source.more(free)]
        if not groups:
            return
        self._folder.record([entry.trial for group in groups for entry in group])
        for entry in itertools.chain.from_iterable(groups):
            entry.progress = progress_of(self._folder.trial(entry.trial.name))
            if entry.progress.ended:
                self._end(entry, str(entry.progress.status))
        self._groups += groups

    def _start(self) -> None:
        """Start what waits, as far as there are places."""
        now, free = time.monotonic(), self._engine.places - len(self._going)
        ready = list(itertools.islice((group for group in self._groups if _is_ready(group, now)), free))
        if not ready:
            return
        waiting = [[entry for entry in group if entry.state == "waiting"] for group in ready]
        jobs = [self._job(entries) for entries in waiting]
        for entries, job, process in zip(waiting, jobs, self._engine.start(jobs), strict=True):
            self._going.append(RunningJob(job.name, entries, process, now))
            for entry in entries:
                entry.state = "running"

    def _look(self, going: RunningJob, stopping: bool) -> None:
        """How far the trials of a process are, and whether it has ended."""
        code, now = going.process.poll(), time.monotonic()
        if code is None and now - going.looked < _LOOK:
            return
        going.looked = now
        for entry in going.entries:
            progress = progress_of(self._folder.trial(entry.trial.name))
            if progress != entry.progress:
                entry.progress = progress
                entry.pruned = entry.pruned or (not progress.ended and self._source.look(entry.trial, progress))
        if code is not None:
            self._going.remove(going)
            self._settle(going, code, stopping)
            return
        # Asked once: a second signal would end it without a checkpoint, and one that has ended is left to close.
        left = [entry for entry in going.entries if not entry.progress.ended]
        if left and all(entry.pruned for entry in left) and not going.stopped:
            going.stopped = True
            going.process.stop()

    def _job(self, entries: Sequence[QueuedTrial]) -> Job:
        """Named after its first trial; of the code in the snapshot, and of what the user has beside the checkout."""
        name, here = entries[0].trial.name, Path.cwd()
        command = self._folder.write_job(name, [entry.trial for entry in entries])
        own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        path = os.pathsep.join(filter(None, [str(self._folder.path / CODE), str(here), *own]))
        return Job(name, command, here, self._folder.log(name), {"PYTHONPATH": path})

    def _settle(self, going: RunningJob, code: int, stopping: bool) -> None:
        """What a process that has ended has left of each of its trials."""
        now = time.monotonic()
        for entry in going.entries:
            entry.seconds += (now - going.begun) / len(going.entries)
            entry.state = "waiting"
            if entry.progress.ended:
                self._end(entry, str(entry.progress.status))
            elif entry.pruned:
                self._end(entry, "pruned")
            elif code == RunFolderInUseError.exit_code:
                # By a process of an earlier call, which is being stopped.
                entry.not_before = now + _IN_USE_PAUSE
            elif not stopping and code != InterruptedRunError.exit_code:
                entry.failures += 1
                if code in _MISTAKES or entry.failures > self._retries:
                    entry.said = self._last_lines(going.name)
                    self._end(entry, "failed")

    def _end(self, entry: QueuedTrial, state: str) -> None:
        entry.state = state
        self._source.settle(entry.trial, state, entry.progress)

    def _last_lines(self, job: str) -> str:
        log = self._folder.log(job)
        text = log.read_text("utf-8", errors="replace") if log.exists() else ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-_LAST_LINES:])


def _is_waiting(group: Sequence[QueuedTrial]) -> bool:
    """Whether some of a group's trials wait, and none runs."""
    states = {entry.state for entry in group}
    return "waiting" in states and "running" not in states


def _is_ready(group: Sequence[QueuedTrial], now: float) -> bool:
    """Whether it waits, and it is not too early to try again."""
    return _is_waiting(group) and all(entry.not_before <= now for entry in group if entry.state == "waiting")
