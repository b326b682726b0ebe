"""Trials that Optuna proposes, by what the earlier ones have reached."""

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nlstm_jax.errors import ConfigError
from nlstm_jax.runs import higher_is_better
from nlstm_jax.sweeps.progress import TrialProgress
from nlstm_jax.sweeps.space import Trial, TrialCollector

_HEARTBEAT = 15
"""Seconds; a trial that has not been heard of for four times as long is taken for dead, and tried again."""
_FOLDER, _NAME, _COMMAND, _CONFIG, _FAILED = "folder", "name", "command", "config", "failed"
"""What the study keeps of a trial beside its parameters."""


@dataclass(frozen=True)
class SearchSpec:
    """What a sweep file says of a search.

    Attributes:
        path: of the file.
        suggest: (an Optuna trial, add) → None, adding one trial.
        count: trials in all.
        options: `sampler` and `pruner`; Optuna's TPE and median if not given.
    """

    path: Path
    suggest: Callable[..., None]
    count: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def trial(self, asked: Any) -> Trial:
        """The trial that the file makes of an Optuna trial.

        Raises:
            ConfigError: none or several, or one that does not serve.
        """
        space = TrialCollector(str(self.path))
        space.run(self.path, lambda add: self.suggest(asked, add))
        if (found := len(space.trials)) != 1:
            raise ConfigError(f"{self.path}: suggest(trial, add): one trial added expected, {found} found")
        (made,) = space.trials
        return replace(made, name=f"{asked.number:04},{made.name}")

    def examples(self, count: int) -> list[Trial]:
        """What would be tried, drawn at random."""
        optuna = _optuna()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [self.trial(study.ask()) for _ in range(min(count, self.count))]


def connect(url: str, *, retries: int) -> Any:
    """The database of a study.

    Args:
        url: SQLAlchemy's.
        retries: of trials whose process has died.

    Raises:
        ConfigError: Optuna or the database's driver is not installed, or the database cannot be reached.
    """
    optuna = _optuna()
    import sqlalchemy

    options = {
        "heartbeat_interval": _HEARTBEAT,
        "grace_period": 4 * _HEARTBEAT,
        "heartbeat_stale_trial_callback": optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries),
    }
    try:
        try:
            return optuna.storages.RDBStorage(url, **options)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            # Another sweep was making the tables of a new database at the same time.
            time.sleep(3)
            return optuna.storages.RDBStorage(url, **options)
    except ImportError as error:
        raise ConfigError(f"--storage={url}: its driver expected: {error}") from None
    except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"--storage={url}: a database expected: {reason}") from None


class Search:
    """A study of Optuna's as the source of a queue's trials; several sweeps can share one by its storage."""

    def __init__(self, plan: SearchSpec, *, name: str, storage: Any, folder: Path, seed: int = 0) -> None:
        """Open the study, or go on with it.

        Args:
            plan: of the sweep file.
            name: of the study.
            storage: from `connect`.
            folder: of the sweep.
            seed: of the sampler; sweeps that share a study must not propose the same.
        """
        optuna = _optuna()
        self._states, self._make = optuna.trial.TrialState, optuna.trial.Trial
        self._fail_stale = optuna.storages.fail_stale_trials
        self._plan, self._folder = plan, str(folder.absolute())
        self._storage = storage
        options = {
            "sampler": optuna.samplers.TPESampler(seed=seed),
            "pruner": optuna.pruners.MedianPruner(),
            **plan.options,
        }
        self._study = optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True, **options)
        self._going: dict[str, Any] = {}
        self._beaten: float | None = None
        self._left = self._own()

    def more(self, places: int) -> list[list[Trial]]:
        """First what an earlier call has left, then new trials, as many as there are places."""
        self._beat()
        made, self._left = self._left, []
        while len(made) < places and self._known() < self._plan.count:
            asked = self._study.ask()
            trial = self._plan.trial(asked)
            kept = {_FOLDER: self._folder, _NAME: trial.name, _COMMAND: trial.command, _CONFIG: dict(trial.config)}
            for key, value in kept.items():
                asked.set_user_attr(key, value)
            self._storage.record_heartbeat(asked._trial_id)
            self._going[trial.name] = asked
            made.append(trial)
        return [[trial] for trial in made]

    @property
    def done(self) -> bool:
        """Not before the trials of other sweeps have ended too: those of one that dies are tried again here."""
        return self._known(running=False) >= self._plan.count

    def look(self, trial: Trial, progress: TrialProgress) -> bool:
        """Report what is new, and ask the pruner."""
        self._beat()
        if (asked := self._going.get(trial.name)) is None:
            return False
        sign = _sign(trial)
        for step, value in progress.values.items():
            asked.report(sign * value, step)
        return bool(progress.values) and bool(asked.should_prune())

    def settle(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """Tell the study; a trial that diverged counts as one without hope."""
        if (asked := self._going.pop(trial.name, None)) is None:
            return
        if state == "finished" and progress.best is not None:
            self._study.tell(asked, _sign(trial) * progress.best)
        elif state in ("pruned", "diverged"):
            self._study.tell(asked, state=self._states.PRUNED)
        else:
            asked.set_user_attr(_FAILED, True)
            self._study.tell(asked, state=self._states.FAIL)

    def _own(self) -> list[Trial]:
        """Trials of this folder: those that are finished, and those that had not ended when an earlier call did."""
        trials = []
        for found in self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE, self._states.RUNNING)):
            kept = found.user_attrs
            if kept.get(_FOLDER) == self._folder and _CONFIG in kept:
                if found.state == self._states.RUNNING:
                    self._going[kept[_NAME]] = self._make(self._study, found._trial_id)
                trials.append(Trial(kept[_NAME], kept[_CONFIG], kept[_COMMAND]))
        return trials

    def _known(self, running: bool = True) -> int:
        """Trials that have ended or go on; those whose process has died are not counted, but tried again."""
        states = self._states.COMPLETE, self._states.PRUNED, *[self._states.RUNNING] * running
        trials = self._study.get_trials(deepcopy=False, states=(*states, self._states.FAIL))
        return sum(trial.state != self._states.FAIL or _FAILED in trial.user_attrs for trial in trials)

    def _beat(self) -> None:
        """Say that the own trials are alive, and look after those of others."""
        now = time.monotonic()
        if self._beaten is not None and now - self._beaten < _HEARTBEAT:
            return
        self._beaten = now
        for asked in self._going.values():
            self._storage.record_heartbeat(asked._trial_id)
        self._fail_stale(self._study)


def _sign(trial: Trial) -> int:
    """A study minimises."""
    return -1 if higher_is_better(trial.config["eval"]["metric"]) else 1


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError('a search expects Optuna: pip install -e ".[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # Optuna would beat itself within `Study.optimize`, which knows no processes elsewhere.
    warnings.filterwarnings("ignore", message="Heartbeat of storage")
    return optuna
