"""A sweep's folder: held by one process, with its trials, their code, and what they said."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from nlstm_jax import settings
from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import differences, make_folder
from nlstm_jax.runs.files import LOCK, read_json, write_json
from nlstm_jax.runs.lock import acquire_lock
from nlstm_jax.sweeps import snapshot
from nlstm_jax.sweeps.space import Trial

SWEEP = "sweep.json"
CODE = "code"
TRIALS = "trials"
LOGS = "logs"
JOBS = "jobs"
SLURM = "slurm"
STUDY = "study.db"
_OURS = (SWEEP, CODE, TRIALS, LOGS, JOBS, SLURM, STUDY, LOCK, f".{CODE}.partial")


class SweepFolder:
    """One sweep's folder, held by one process; a context manager that gives the lock back.

    sweep.json      every trial: its name, its configuration, the command that means the same
    code/           the packages as they were when the sweep was begun
    trials/NAME/    a run folder each
    jobs/, logs/    what each process was asked to train, and what it said
    """

    def __init__(self, path: Path, metric_writers: Sequence[str] = ()) -> None:
        """Name a folder; nothing is written.

        Args:
            path: the folder.
            mirrors: where the trials' metrics are also shown.
        """
        self.path, self._mirrors = path.absolute(), list(metric_writers)

    def check(self, trials: Iterable[Trial]) -> None:
        """Raise a ConfigError if the folder has other things, or a trial by the same name that is another."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"workdir {self.path}: a folder expected, a file found")
        if not self.path.exists():
            return
        if not (self.path / SWEEP).exists():
            strangers = sorted(entry.name for entry in self.path.iterdir() if entry.name not in _OURS)
            if strangers:
                raise ConfigError(
                    f"workdir {self.path}: a new, empty or sweep folder expected, found {strangers[0]} and no {SWEEP}"
                )
            return
        earlier = read_json(self.path / SWEEP)["trials"]
        for trial in trials:
            if trial.name not in earlier:
                continue
            found = differences(settings.with_defaults(earlier[trial.name]["config"]), trial.config)
            if found:
                listed = ", ".join(f"{key}: {old!r} there, {new!r} here" for key, (old, new) in found.items())
                raise ConfigError(
                    f"workdir {self.path} holds a trial {trial.name} of another configuration ({listed}); "
                    "choose another --workdir"
                )

    def open(self, trials: Iterable[Trial], contrast: Sequence[str] | None = None) -> Self:
        """Hold the folder, and write what is to be tried.

        Args:
            trials: that are known.
            contrast: the labels of two groups whose difference is named in advance.

        Raises:
            RunFolderInUseError: another process holds it.
        """
        make_folder(self.path, "workdir")
        self._lock = acquire_lock(self.path, "sweep")
        if not (self.path / CODE).exists():
            snapshot.take(Path(__file__).resolve().parents[2], self.path / CODE)
        for name in (TRIALS, LOGS, JOBS):
            make_folder(self.path / name, "workdir")
        self._contrast = list(contrast or ())
        self.record(trials)
        return self

    def record(self, trials: Iterable[Trial]) -> None:
        """Write trials down, beside those that are there."""
        earlier = read_json(self.path / SWEEP)["trials"] if (self.path / SWEEP).exists() else {}
        now = {trial.name: {"command": trial.command, "config": dict(trial.config)} for trial in trials}
        # A configuration stays as the code of the snapshot knows it.
        self._recorded = now | earlier
        write_json(self.path / SWEEP, {"contrast": self._contrast, "trials": self._recorded})

    def trial(self, name: str) -> Path:
        """A trial's run folder."""
        return self.path / TRIALS / name

    def log(self, job: str) -> Path:
        """What a job's process said."""
        return self.path / LOGS / f"{job}.txt"

    def write_job(self, job: str, trials: Iterable[Trial]) -> list[str]:
        """Write what one process is to train; the command that does it."""
        file = self.path / JOBS / f"{job}.json"
        names = [trial.name for trial in trials]
        parts = [{"workdir": str(self.trial(name)), "config": self._recorded[name]["config"]} for name in names]
        write_json(file, {"mirrors": self._mirrors, "runs": parts})
        # -P: the packages of the snapshot, not those of the folder that the sweep was started in.
        return [sys.executable, "-P", "-m", "experiments.trials", f"--job={file}"]

    def close(self) -> None:
        """Give the lock back."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def contrast_of(trials: Iterable[Path]) -> tuple[str, str] | None:
    """What the sweep named in advance that all these run folders are trials of; None if there is none."""
    sweeps = {folder.resolve().parents[1] for folder in trials}
    if len(sweeps) != 1 or not ((sweep := sweeps.pop()) / SWEEP).exists():
        return None
    contrast = read_json(sweep / SWEEP).get("contrast") or None
    return contrast and (contrast[0], contrast[1])
