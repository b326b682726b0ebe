"""Where a queue's trials come from: all at once, or as a search proposes them."""

from collections.abc import Sequence
from typing import Protocol

from nlstm_jax.sweeps.progress import TrialProgress
from nlstm_jax.sweeps.space import Trial


class Source(Protocol):
    """What a queue asks for trials, and tells of them."""

    def more(self, places: int) -> list[list[Trial]]:
        """Groups of trials to add, each for one process, as there are so many free places; none: nothing for now."""

    @property
    def done(self) -> bool:
        """Whether nothing more can come, once all that was given has ended."""

    def look(self, trial: Trial, progress: TrialProgress) -> bool:
        """What a running trial has reached; whether it is to be stopped, as there is no hope for it."""

    def settle(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """A trial has ended: finished, diverged, failed, or pruned."""


class FixedTrials:
    """All trials of a plan, at once."""

    def __init__(self, groups: Sequence[Sequence[Trial]]) -> None:
        """Take them in groups."""
        self._groups = [list(group) for group in groups]

    def more(self, places: int) -> list[list[Trial]]:
        """All, the first time."""
        groups, self._groups = self._groups, []
        return groups

    @property
    def done(self) -> bool:
        """Once they were given."""
        return not self._groups

    def look(self, trial: Trial, progress: TrialProgress) -> bool:
        """Every trial is trained to its end."""
        return False

    def settle(self, trial: Trial, state: str, progress: TrialProgress) -> None:
        """Nothing depends on it."""
