"""A hyperparameter search: trials that Optuna proposes from the results of earlier trials."""

import contextlib
import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from nlstm_jax.errors import ConfigError, StorageError, UserError
from nlstm_jax.settings import find_metric
from nlstm_jax.sweeps import search_page
from nlstm_jax.sweeps.folder import SweepFolder, refuse_other_config
from nlstm_jax.sweeps.progress import TrialProgress
from nlstm_jax.sweeps.sampler_seed import SamplerSeed
from nlstm_jax.sweeps.space import Trial, TrialCollector

OptunaTrial: TypeAlias = Any
"""An `optuna.trial.Trial`; Optuna is optional, so its types are not imported."""
OptunaStorage: TypeAlias = Any
"""An `optuna.storages.RDBStorage`."""

_HEARTBEAT = 15
"""Seconds between two heartbeats. A trial without one for four times as long counts as dead, and is tried again."""
_DATABASE_RETRY_PAUSE = 3
"""Seconds before a second attempt to open a database whose tables another sweep was creating."""

# The keys of the attributes that the study keeps of every trial in addition to its parameters.
_FOLDER = "folder"
_NAME = "name"
_COMMAND = "command"
_CONFIG = "config"
_FAILED = "failed"


@dataclass(frozen=True)
class SearchSpec:
    """A search as described by a sweep file.

    Attributes:
        path: The sweep file.
        suggest: The function `suggest(trial, add)` of the file, which adds one trial for an Optuna trial.
        count: The total number of trials.
        options: The `sampler` and the `pruner` of the file. Defaults: Optuna's TPE sampler and median pruner.
    """

    path: Path
    suggest: Callable[..., None]
    count: int
    options: Mapping[str, object] = field(default_factory=dict)

    def make_trial(self, optuna_trial: OptunaTrial) -> Trial:
        """Return the trial that the file makes of an Optuna trial.

        Raises:
            ConfigError: The file adds no trial or several, or the trial is not valid.
        """
        collector = TrialCollector(str(self.path))
        collector.run(self.path, lambda add: self.suggest(optuna_trial, add))
        if len(collector.trials) != 1:
            raise ConfigError(
                f"{self.path}: suggest(trial, add): one trial added expected, {len(collector.trials)} found"
            )
        trial = collector.trials[0]
        return replace(trial, name=f"{optuna_trial.number:04},{trial.name}")

    def examples(self, count: int) -> list[Trial]:
        """Return up to `count` trials of the search, drawn at random."""
        optuna = _import_optuna()
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        return [self.make_trial(study.ask()) for _ in range(min(count, self.count))]


def connect(url: str, *, retries: int) -> OptunaStorage:
    """Connect to the database of a study.

    Args:
        url: The URL of the database, as SQLAlchemy expects it.
        retries: The number of times that a trial is tried again whose process has died.

    Raises:
        ConfigError: Optuna or the driver of the database is not installed, or the database cannot be reached.
    """
    optuna = _import_optuna()
    import sqlalchemy

    options = {
        "heartbeat_interval": _HEARTBEAT,
        "grace_period": 4 * _HEARTBEAT,
        "heartbeat_stale_trial_callback": optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries),
    }
    try:
        try:
            return optuna.storages.RDBStorage(url, **options)
        except sqlalchemy.exc.DatabaseError as error:
            # Another sweep was creating the tables of a new database at the same time. SQLite has no own error for it.
            is_known = isinstance(error, sqlalchemy.exc.IntegrityError | sqlalchemy.exc.ProgrammingError)
            if not is_known and "already exists" not in str(error):
                raise
            time.sleep(_DATABASE_RETRY_PAUSE)
            return optuna.storages.RDBStorage(url, **options)
    except ImportError as error:
        raise ConfigError(f"--storage={url}: its driver expected: {error}") from None
    except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError(f"--storage={url}: a database expected: {reason}") from None


@contextlib.contextmanager
def _one_line_of_database_errors() -> Iterator[None]:
    """Turn an error of the database into one line.

    Raises:
        StorageError: The database cannot be read or written any more.
    """
    optuna = _import_optuna()
    import sqlalchemy

    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise StorageError(
            f"the database of the search cannot be read or written: {reason}; the same command goes on"
        ) from None


class Search:
    """An Optuna study as the source of a queue's trials. Several sweeps can share one study through its storage."""

    @_one_line_of_database_errors()
    def __init__(
        self, spec: SearchSpec, *, name: str, storage: OptunaStorage, folder: SweepFolder, seed: int = 0
    ) -> None:
        """Create the study, or continue it if it exists.

        Args:
            spec: The search that the sweep file describes.
            name: The name of the study.
            storage: The database, from `connect`.
            folder: The folder of the sweep.
            seed: The seed of the sampler. Sweeps that share a study need different seeds, or they would propose the
                same trials.

        Raises:
            ConfigError: The sweep file no longer makes the trials that the study has.
            StorageError: The database cannot be read or written. All methods raise it.
        """
        optuna = _import_optuna()
        self._trial_states = optuna.trial.TrialState
        self._trial_class = optuna.trial.Trial
        self._fail_stale_trials = optuna.storages.fail_stale_trials

        self._spec = spec
        self._folder = folder
        self._storage = storage
        options = {
            "sampler": optuna.samplers.TPESampler(seed=seed),
            "pruner": optuna.pruners.MedianPruner(),
            **spec.options,
        }
        self._sampler_seed = SamplerSeed(options["sampler"], seed)
        self._study = optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True, **options)

        self._running: dict[str, OptunaTrial] = {}
        """The Optuna trials of this sweep that have not ended, by the name of the trial."""
        self._last_heartbeat: float | None = None
        self._check_earlier_trials()
        self._let_orphans_expire()
        self._earlier_trials = self._load_earlier_trials()
        """The trials of an earlier call of this sweep that `next_trials` has not returned yet."""

    @_one_line_of_database_errors()
    def next_trials(self, free_slots: int) -> list[list[Trial]]:
        """Return the trials of an earlier call first, then new trials, one for each free slot.

        Args:
            free_slots: The number of processes that could be started.
        """
        self._send_heartbeats()
        trials = self._earlier_trials
        self._earlier_trials = []
        while len(trials) < free_slots and self._count_trials() < self._spec.count:
            trials.append(self._propose_trial())
        return [[trial] for trial in trials]

    @property
    @_one_line_of_database_errors()
    def done(self) -> bool:
        """True if the trials of all sweeps of the study have ended.

        The trials of other sweeps count as well, because this sweep tries them again if their sweep dies.
        """
        return self._count_trials(include_running=False) >= self._spec.count

    @_one_line_of_database_errors()
    def should_prune(self, trial: Trial, progress: TrialProgress) -> bool:
        """Report the values of a running trial to the study, and return True if its pruner stops the trial."""
        self._send_heartbeats()
        optuna_trial = self._running.get(trial.name)
        if optuna_trial is None:
            return False
        sign = _objective_sign(trial)
        for step, value in progress.values.items():
            optuna_trial.report(sign * value, step)
        return bool(progress.values) and bool(optuna_trial.should_prune())

    @_one_line_of_database_errors()
    def report_result(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """Report the final state of a trial to the study. A trial that diverged is reported as pruned."""
        optuna_trial = self._running.pop(trial.name, None)
        if optuna_trial is None:
            return
        if state == "finished" and progress.best is not None:
            self._study.tell(optuna_trial, _objective_sign(trial) * progress.best)
        elif state in ("pruned", "diverged"):
            self._study.tell(optuna_trial, state=self._trial_states.PRUNED)
        else:
            optuna_trial.set_user_attr(_FAILED, True)
            self._study.tell(optuna_trial, state=self._trial_states.FAIL)

    @_one_line_of_database_errors()
    def page(self) -> str | None:
        """Return the study as an HTML page, see `search_page.render`. None if it has no trial yet."""
        for stored_trial in self._study.get_trials(deepcopy=False):
            config = stored_trial.user_attrs.get(_CONFIG)
            if config is not None:
                metric = find_metric(config, config["eval"]["metric"])
                return search_page.render(self._study, metric.name, higher_is_better=metric.higher_is_better)
        return None

    def _propose_trial(self) -> Trial:
        """Let the study propose a trial, and store with it what a later call of the sweep needs to resume it.

        Raises:
            ConfigError: The sweep file makes no valid trial of the proposal, or the folder has a trial of this name
                and of another configuration. The study then has a failed trial, which is not counted.
        """
        self._sampler_seed.apply(len(self._study.get_trials(deepcopy=False)))
        optuna_trial = self._study.ask()
        self._storage.record_heartbeat(optuna_trial._trial_id)
        try:
            trial = self._spec.make_trial(optuna_trial)
            self._folder.check([trial])
        except UserError:
            self._study.tell(optuna_trial, state=self._trial_states.FAIL)
            raise

        attributes = {
            _FOLDER: str(self._folder.path),
            _NAME: trial.name,
            _COMMAND: trial.command,
            _CONFIG: dict(trial.config),
        }
        for key, value in attributes.items():
            optuna_trial.set_user_attr(key, value)
        self._running[trial.name] = optuna_trial
        return trial

    def _check_earlier_trials(self) -> None:
        """Check that the sweep file still makes the same configuration of every trial of the study that counts.

        Raises:
            ConfigError: It makes another one, so that old results would count for the new configuration.
        """
        place = f"study {self._study.study_name}"
        remedy = "choose another --workdir and --study"
        for stored_trial in self._study.get_trials(deepcopy=False):
            attributes = stored_trial.user_attrs
            if _CONFIG not in attributes or not self._counts(stored_trial):
                continue
            name = attributes[_NAME]
            try:
                with warnings.catch_warnings():
                    # Optuna warns of a value outside of a range that has become narrower.
                    warnings.simplefilter("ignore")
                    trial = self._spec.make_trial(copy.deepcopy(stored_trial))
            except UserError as error:
                raise ConfigError(
                    f"{place} holds a trial {name} that the sweep file no longer makes ({error}); {remedy}"
                ) from None
            refuse_other_config(place, name, attributes[_CONFIG], trial.config, remedy)

    def _let_orphans_expire(self) -> None:
        """Record one heartbeat for running trials whose sweep died before it had stored their configuration.

        Without any heartbeat Optuna would take them for alive for ever.
        """
        for stored_trial in self._study.get_trials(deepcopy=False, states=(self._trial_states.RUNNING,)):
            if _CONFIG not in stored_trial.user_attrs:
                self._storage.record_heartbeat(stored_trial._trial_id)

    def _load_earlier_trials(self) -> list[Trial]:
        """Return the trials of this folder that are finished, or that had not ended when an earlier call did.

        The folder knows its trials by their names, which are unique in a study. So it can be moved.
        """
        recorded_names = self._folder.trial_names()
        states = (self._trial_states.COMPLETE, self._trial_states.RUNNING)
        trials = []
        for stored_trial in self._study.get_trials(deepcopy=False, states=states):
            attributes = stored_trial.user_attrs
            if attributes.get(_NAME) not in recorded_names or _CONFIG not in attributes:
                continue
            name = attributes[_NAME]
            if stored_trial.state == self._trial_states.RUNNING:
                self._running[name] = self._trial_class(self._study, stored_trial._trial_id)
            trials.append(Trial(name, attributes[_CONFIG], attributes[_COMMAND]))
        return trials

    def _count_trials(self, include_running: bool = True) -> int:
        """Return the number of the study's trials that have ended, with or without those that run."""
        trials = [trial for trial in self._study.get_trials(deepcopy=False) if self._counts(trial)]
        if include_running:
            return len(trials)
        return sum(trial.state.is_finished() for trial in trials)

    def _counts(self, stored_trial: OptunaTrial) -> bool:
        """Return True if a trial runs or has ended, and is not tried again.

        A trial that failed counts. A trial whose process died does not count, as it is tried again; Optuna marks it as
        failed too, but it lacks the attribute that `report_result` sets.
        """
        if stored_trial.state == self._trial_states.FAIL:
            return _FAILED in stored_trial.user_attrs
        return bool(stored_trial.state != self._trial_states.WAITING)

    def _send_heartbeats(self) -> None:
        """Record that the trials of this sweep are alive, and mark trials of other sweeps as failed if they are dead.

        This does nothing if the last heartbeat is recent.
        """
        now = time.monotonic()
        if self._last_heartbeat is not None and now - self._last_heartbeat < _HEARTBEAT:
            return
        self._last_heartbeat = now
        for optuna_trial in self._running.values():
            self._storage.record_heartbeat(optuna_trial._trial_id)
        self._fail_stale_trials(self._study)


def _objective_sign(trial: Trial) -> int:
    """Return the sign by which the metric is multiplied, as a study minimizes: -1 if higher is better, else 1."""
    metric = find_metric(trial.config, trial.config["eval"]["metric"])
    return -1 if metric.higher_is_better else 1


def _import_optuna() -> ModuleType:
    """Import and return Optuna, and silence the messages that do not concern the user.

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError('a search expects Optuna: pip install -e ".[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    # The warning says that only `Study.optimize` sends heartbeats. It does not apply, as `Search` sends its own.
    warnings.filterwarnings("ignore", message="Heartbeat of storage")
    module: ModuleType = optuna
    return module
