"""The folder of a sweep: its trials, a copy of the code, and the logs; held by one process."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nlstm_jax import settings
from nlstm_jax.errors import ConfigError
from nlstm_jax.installation import IS_WHEEL, ROOT, SCRIPTS
from nlstm_jax.runs import differences, make_folder
from nlstm_jax.runs.files import LOCK, read_json, write_json
from nlstm_jax.runs.lock import acquire_lock
from nlstm_jax.sweeps.snapshot import copy_code
from nlstm_jax.sweeps.space import Trial
from nlstm_jax.types import Config, JsonObject

SWEEP = "sweep.json"
CODE = "code"
TRIALS = "trials"
LOGS = "logs"
JOBS = "jobs"
SLURM = "slurm"
STUDY = "study.db"
SEARCH_PAGE = "search.html"
_SWEEP_FILES = (SWEEP, CODE, TRIALS, LOGS, JOBS, SLURM, STUDY, SEARCH_PAGE, LOCK, f".{CODE}.partial")
"""The names of all files and folders that a sweep may leave in its folder."""


class SweepFolder:
    """The folder of one sweep, held by one process; a context manager that releases the lock.

    sweep.json      every trial: its name, its configuration, and the equivalent options of `experiments.train`
    code/           the packages as they were when the sweep began
    trials/NAME/    one run folder per trial
    jobs/           the runs that each process was given to train
    logs/           the output of each process
    study.db        the study of a search, unless it is elsewhere
    search.html     a search as a page, written at its end
    """

    def __init__(self, path: Path, metric_writers: Sequence[str] = ()) -> None:
        """Set the path of the folder. Nothing is written.

        Args:
            path: The folder of the sweep.
            metric_writers: The names of further programs that show the trials' metrics, see `runs.metric_writers`.
        """
        self.path = path.absolute()
        self._metric_writers = list(metric_writers)

    def check(self, trials: Iterable[Trial]) -> None:
        """Check that the folder can be used for these trials.

        Args:
            trials: The trials that are known.

        Raises:
            ConfigError: The folder contains files that do not belong to a sweep, or a trial that has the same name and
                another configuration.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"workdir {self.path}: a folder expected, a file found")
        if not self.path.exists():
            return

        if not (self.path / SWEEP).exists():
            foreign_names = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _SWEEP_FILES)
            if foreign_names:
                raise ConfigError(
                    f"workdir {self.path}: a new, empty or sweep folder expected, found {foreign_names[0]} "
                    f"and no {SWEEP}"
                )
            return

        recorded = self._read_recorded_trials()
        for trial in trials:
            if trial.name in recorded:
                recorded_config = recorded[trial.name]["config"]
                refuse_other_config(
                    f"workdir {self.path}", trial.name, recorded_config, trial.config, "choose another --workdir"
                )

    def open(self, trials: Iterable[Trial], contrast: Sequence[str] | None = None) -> Self:
        """Lock the folder, copy the code if that has not been done yet, and record the trials.

        Args:
            trials: The trials that are known.
            contrast: The labels of two groups whose difference is named in advance, or None.

        Raises:
            RunFolderInUseError: Another process holds the folder.
        """
        make_folder(self.path, "workdir")
        self._lock = acquire_lock(self.path, "sweep")
        if not (self.path / CODE).exists():
            # An installed wheel is among the packages of others.
            names = ("nlstm_jax", SCRIPTS) if IS_WHEEL else ()
            copy_code(ROOT, self.path / CODE, names)
        for name in (TRIALS, LOGS, JOBS):
            make_folder(self.path / name, "workdir")
        self._contrast = list(contrast or ())
        self.record(trials)
        return self

    def record(self, trials: Iterable[Trial]) -> None:
        """Add trials to sweep.json. Trials that are already recorded stay as they are."""
        recorded: JsonObject = {}
        if (self.path / SWEEP).exists():
            recorded = self._read_recorded_trials()
        new = {trial.name: {"command": trial.command, "config": dict(trial.config)} for trial in trials}
        # A recorded configuration is kept, as the code in the snapshot may not know newer settings.
        self._recorded = new | recorded
        write_json(self.path / SWEEP, {"contrast": self._contrast, "trials": self._recorded})

    def trial_names(self) -> set[str]:
        """Return the names of all recorded trials. There are none before the sweep has begun."""
        if not (self.path / SWEEP).exists():
            return set()
        return set(self._read_recorded_trials())

    def trial(self, name: str) -> Path:
        """Return the path of the run folder of a trial."""
        return self.path / TRIALS / name

    def log(self, job: str) -> Path:
        """Return the path of the output file of a job's process."""
        return self.path / LOGS / f"{job}.txt"

    def write_job(self, job: str, trials: Iterable[Trial]) -> list[str]:
        """Write the job file of one process, and return the command that trains its runs.

        Args:
            job: The name of the job.
            trials: The recorded trials that the process trains.
        """
        runs = []
        for trial in trials:
            runs.append({"workdir": str(self.trial(trial.name)), "config": self._recorded[trial.name]["config"]})
        job_file = self.path / JOBS / f"{job}.json"
        write_json(job_file, {"mirrors": self._metric_writers, "runs": runs})
        # With -P Python imports the packages of the snapshot, not those of the folder where the sweep was started.
        return [sys.executable, "-P", "-m", f"{SCRIPTS}.trials", f"--job={job_file}"]

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_recorded_trials(self) -> JsonObject:
        """Return the trials in sweep.json by name, each with its `command` and its `config`."""
        trials: JsonObject = read_json(self.path / SWEEP)["trials"]
        return trials


def refuse_other_config(place: str, name: str, recorded: Config, config: Config, remedy: str) -> None:
    """Check that a trial has the configuration that is recorded under its name.

    Args:
        place: The place of the record, as the error message names it.
        name: The name of the trial.
        recorded: The recorded configuration, of this version or an earlier one.
        config: The configuration of the trial.
        remedy: The advice at the end of the error message.

    Raises:
        ConfigError: The configurations differ. The message names every difference.
    """
    differing = differences(settings.with_defaults(recorded), config)
    if differing:
        listed = ", ".join(f"{key}: {old!r} there, {new!r} here" for key, (old, new) in differing.items())
        raise ConfigError(f"{place} holds a trial {name} of another configuration ({listed}); {remedy}")


def contrast_of(trials: Iterable[Path]) -> tuple[str, str] | None:
    """Return the contrast that a sweep has named in advance.

    Args:
        trials: Run folders.

    Returns:
        The labels of two groups. None if the run folders are not all trials of one sweep, or if it names no contrast.
    """
    # A run folder at the root of a file system is its own grandparent here, and no trial of a sweep.
    sweep_folders = {run_folder.resolve().parent.parent for run_folder in trials}
    if len(sweep_folders) != 1:
        return None
    sweep_file = sweep_folders.pop() / SWEEP
    if not sweep_file.exists():
        return None
    contrast = read_json(sweep_file).get("contrast")
    if not contrast:
        return None
    return contrast[0], contrast[1]
