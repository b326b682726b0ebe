"""Sources of a queue's trials: a fixed list of trials, or a search (see `search`)."""

from collections.abc import Sequence
from typing import Protocol

from nlstm_jax.sweeps.progress import TrialProgress
from nlstm_jax.sweeps.space import Trial


class Source(Protocol):
    """A source that supplies trials to a queue and receives their results."""

    def next_trials(self, free_slots: int) -> list[list[Trial]]:
        """Return groups of new trials, each group for one process. There may be none for now.

        Args:
            free_slots: The number of processes that could be started.
        """

    @property
    def done(self) -> bool:
        """True if no more trials will come once all trials so far have ended."""

    def should_prune(self, trial: Trial, progress: TrialProgress) -> bool:
        """Receive the progress of a running trial, and return True if the trial should be stopped early."""

    def report_result(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """Receive the final state of a trial: finished, diverged, failed or pruned."""


class FixedTrials:
    """A source that supplies a fixed list of trials, all at once."""

    def __init__(self, groups: Sequence[Sequence[Trial]]) -> None:
        """Set the trials.

        Args:
            groups: The trials, each group for one process.
        """
        self._groups = [list(group) for group in groups]

    def next_trials(self, free_slots: int) -> list[list[Trial]]:
        """Return all trials on the first call, and none on later calls."""
        groups = self._groups
        self._groups = []
        return groups

    @property
    def done(self) -> bool:
        """True if the trials have been returned."""
        return not self._groups

    def should_prune(self, trial: Trial, progress: TrialProgress) -> bool:
        """Return False, as every trial is trained to its end."""
        return False

    def report_result(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """Do nothing, as no trial depends on the results of others."""
