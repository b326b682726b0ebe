"""The queue of a sweep: it starts one job after the other until all trials have ended."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nlstm_jax.errors import ConfigError, DataError, InterruptedRunError, RunFolderInUseError, UserError
from nlstm_jax.sweeps.engines.base import Engine, Job, Process
from nlstm_jax.sweeps.folder import CODE, SweepFolder
from nlstm_jax.sweeps.progress import TrialProgress, read_progress
from nlstm_jax.sweeps.sources import Source
from nlstm_jax.sweeps.space import Trial

_PERMANENT_FAILURES = (ConfigError.exit_code, DataError.exit_code)
"""The exit codes of failures that would occur again on a retry."""
_POLL_INTERVAL = 0.2
"""Seconds between two rounds over all processes."""
_READ_INTERVAL = 1.0
"""Seconds between two readings of a run folder: there may be hundreds of them, on a remote disk."""
_IN_USE_PAUSE = 1.0
"""Seconds before a trial is retried whose run folder is held by another process."""
_LAST_LINES = 5
"""The number of log lines that are shown of a failed trial."""


@dataclass
class QueuedTrial:
    """A trial in the queue, with its state.

    Attributes:
        trial: The trial.
        state: One of waiting, running, finished, diverged, pruned and failed.
        progress: The progress according to the run folder, as last read.
        failures: The number of times that the process of the trial has failed.
        seconds: The seconds that the trial's processes took, including their start. A process that trains several
            trials counts in equal parts.
        pruned: True if the source has decided to stop the trial early.
        said: The last lines of the log of a failed trial, else empty.
        damage: What is wrong with the files of the run folder, as last read. Empty if nothing is.
        not_before: The time before which the trial is not started, as of `time.monotonic`.
    """

    trial: Trial
    state: str = "waiting"
    progress: TrialProgress = field(default_factory=TrialProgress)
    failures: int = 0
    seconds: float = 0.0
    pruned: bool = False
    said: str = ""
    damage: str = ""
    not_before: float = 0.0

    @property
    def unfinished(self) -> bool:
        """True if the trial waits or runs."""
        return self.state in ("waiting", "running")


@dataclass
class RunningJob:
    """A job that has been started.

    Attributes:
        name: The name of the job.
        entries: The trials that the job trains.
        process: The process of the job.
        start_time: The time of the start, as of `time.monotonic`.
        last_read: The time at which the run folders were last read, as of `time.monotonic`.
        stopped: True if the process has been asked to stop.
    """

    name: str
    entries: list[QueuedTrial]
    process: Process
    start_time: float
    last_read: float = 0.0
    stopped: bool = False


class Queue:
    """A queue that passes jobs to an engine, and determines the state of each trial from its run folder."""

    def __init__(
        self,
        folder: SweepFolder,
        source: Source,
        engine: Engine,
        *,
        retries: int,
        show: Callable[[Sequence[QueuedTrial]], None],
    ) -> None:
        """Set up the queue. Nothing is started.

        Args:
            folder: The folder of the sweep, already locked.
            source: The source of the trials.
            engine: The engine that runs the jobs.
            retries: The number of times that a failed trial is tried again.
            show: The function that displays the trials. It is called with all of them in every round.
        """
        self._folder = folder
        self._source = source
        self._engine = engine
        self._retries = retries
        self._show = show
        self._groups: list[list[QueuedTrial]] = []
        self._running_jobs: list[RunningJob] = []

    @property
    def entries(self) -> list[QueuedTrial]:
        """All trials so far."""
        return list(itertools.chain.from_iterable(self._groups))

    def run(self, interrupted: Callable[[], bool]) -> bool:
        """Run until all trials have ended, or until `interrupted()` returns True.

        On an interruption all processes are asked to stop, and waited for.

        Returns:
            True if all trials have ended, False after an interruption.

        Raises:
            UserError: The source has no valid trial, or the engine refuses a job. All processes have been stopped.
        """
        try:
            return self._run(interrupted)
        except UserError as error:
            stopped_count = len(self._running_jobs)
            if not stopped_count:
                raise
            self._stop_jobs()
            while self._running_jobs:
                self._show(self.entries)
                time.sleep(_POLL_INTERVAL)
                # A source that cannot take a result has it in the next call, from the run folder.
                with contextlib.suppress(UserError):
                    self._update_jobs(stopping=True)
            raise type(error)(f"{error}; the processes of the sweep were stopped: {stopped_count}") from None

    def _run(self, interrupted: Callable[[], bool]) -> bool:
        """Do what `run` does, but leave the processes running after an error."""
        stopping = False
        while True:
            if interrupted() and not stopping:
                stopping = True
                self._stop_jobs()

            if not stopping:
                self._add_trials()
                self._start_jobs()
            self._show(self.entries)

            all_ended = self._source.done and not any(entry.unfinished for entry in self.entries)
            if not self._running_jobs and (stopping or all_ended):
                return not stopping

            time.sleep(_POLL_INTERVAL)
            self._update_jobs(stopping)

    def _stop_jobs(self) -> None:
        """Ask the processes of all running jobs to stop."""
        for job in self._running_jobs:
            self._stop_job(job)

    def _stop_job(self, job: RunningJob) -> None:
        """Ask the process of a job to stop, unless it has been asked before.

        A second signal would end it without a checkpoint.
        """
        if not job.stopped:
            job.stopped = True
            job.process.stop()

    def _update_jobs(self, stopping: bool) -> None:
        """Update every running job, see `_update_job`."""
        for job in list(self._running_jobs):
            self._update_job(job, stopping)

    def _add_trials(self) -> None:
        """Add new trials from the source. Their progress may stem from an earlier call of the sweep."""
        waiting_groups = sum(_is_waiting(group) for group in self._groups)
        free_slots = self._engine.capacity - len(self._running_jobs) - waiting_groups

        groups = []
        for trials in self._source.next_trials(free_slots):
            groups.append([QueuedTrial(trial) for trial in trials])
        if not groups:
            return

        new_entries = list(itertools.chain.from_iterable(groups))
        self._folder.record([entry.trial for entry in new_entries])
        for entry in new_entries:
            entry.progress = self._read_progress(entry)
            if entry.damage:
                self._end_trial(entry, "failed")
            elif entry.progress.ended:
                self._end_trial(entry, str(entry.progress.status))
        self._groups += groups

    def _start_jobs(self) -> None:
        """Start waiting groups, each as one job, as far as the engine has room."""
        now = time.monotonic()
        free_slots = self._engine.capacity - len(self._running_jobs)
        ready_groups = (group for group in self._groups if _is_ready(group, now))
        groups_to_start = list(itertools.islice(ready_groups, free_slots))
        if not groups_to_start:
            return

        waiting_trials = []
        for group in groups_to_start:
            waiting_trials.append([entry for entry in group if entry.state == "waiting"])
        jobs = [self._make_job(entries) for entries in waiting_trials]
        processes = self._engine.start(jobs)
        for entries, job, process in zip(waiting_trials, jobs, processes, strict=True):
            self._running_jobs.append(RunningJob(job.name, entries, process, now))
            for entry in entries:
                entry.state = "running"

    def _update_job(self, job: RunningJob, stopping: bool) -> None:
        """Read the progress of a job's trials, handle the end of its process, and stop it if all trials are pruned.

        Args:
            job: The job.
            stopping: True if all processes have been asked to stop because of an interruption.
        """
        exit_code = job.process.poll()
        now = time.monotonic()
        if exit_code is None and now - job.last_read < _READ_INTERVAL:
            return

        job.last_read = now
        for entry in job.entries:
            self._update_progress(entry)
        if exit_code is not None:
            self._running_jobs.remove(job)
            self._end_job(job, exit_code, stopping)
            return

        # A process whose trials have all ended is left to exit by itself.
        unended = [entry for entry in job.entries if not entry.progress.ended]
        if unended and all(entry.pruned for entry in unended):
            self._stop_job(job)

    def _read_progress(self, entry: QueuedTrial) -> TrialProgress:
        """Read the progress of a trial. A trial with a damaged run folder keeps the progress that was last read."""
        try:
            progress = read_progress(self._folder.trial(entry.trial.name))
        except DataError as error:
            entry.damage = str(error)
            return entry.progress
        entry.damage = ""
        return progress

    def _update_progress(self, entry: QueuedTrial) -> None:
        """Read the progress of a trial. If it has changed, ask the source whether to prune the trial."""
        progress = self._read_progress(entry)
        if progress == entry.progress:
            return
        entry.progress = progress
        if not entry.pruned and not progress.ended:
            entry.pruned = self._source.should_prune(entry.trial, progress)

    def _make_job(self, entries: Sequence[QueuedTrial]) -> Job:
        """Make the job that trains some trials. It has the name of the first one.

        The job imports the code of the snapshot first, then modules in the current folder, then those in the user's
        PYTHONPATH.
        """
        name = entries[0].trial.name
        working_folder = Path.cwd()
        command = self._folder.write_job(name, [entry.trial for entry in entries])

        user_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        import_path = [str(self._folder.path / CODE), str(working_folder), *user_path]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, import_path))}
        return Job(name, command, working_folder, self._folder.log(name), environment)

    def _end_job(self, job: RunningJob, exit_code: int, stopping: bool) -> None:
        """Determine the new state of every trial of a job whose process has ended.

        Args:
            job: The job.
            exit_code: The exit code of its process.
            stopping: True if all processes have been asked to stop because of an interruption.
        """
        now = time.monotonic()
        for entry in job.entries:
            entry.seconds += (now - job.start_time) / len(job.entries)
            entry.state = "waiting"
            if entry.damage:
                self._end_trial(entry, "failed")
            elif entry.progress.ended:
                self._end_trial(entry, str(entry.progress.status))
            elif entry.pruned:
                self._end_trial(entry, "pruned")
            elif exit_code == RunFolderInUseError.exit_code:
                # The holder is a process of an earlier call that is still stopping.
                entry.not_before = now + _IN_USE_PAUSE
            elif not stopping and exit_code != InterruptedRunError.exit_code:
                entry.failures += 1
                if exit_code in _PERMANENT_FAILURES or entry.failures > self._retries:
                    entry.said = self._read_last_lines(job.name)
                    self._end_trial(entry, "failed")

    def _end_trial(self, entry: QueuedTrial, state: str) -> None:
        """Set the final state of a trial, and report it to the source."""
        entry.state = state
        self._source.report_result(entry.trial, state, entry.progress)

    def _read_last_lines(self, job: str) -> str:
        """Return the last lines of a job's log that are not blank."""
        log = self._folder.log(job)
        if not log.exists():
            return ""
        text = log.read_text("utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-_LAST_LINES:])


def _is_waiting(group: Sequence[QueuedTrial]) -> bool:
    """Return True if some trials of a group wait and none runs."""
    states = {entry.state for entry in group}
    return "waiting" in states and "running" not in states


def _is_ready(group: Sequence[QueuedTrial], now: float) -> bool:
    """Return True if a group waits and none of its waiting trials has to be delayed.

    Args:
        group: The trials of the group.
        now: The current time, as of `time.monotonic`.
    """
    return _is_waiting(group) and all(entry.not_before <= now for entry in group if entry.state == "waiting")
