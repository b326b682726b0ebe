"""The length of a run and the steps at which it evaluates."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from nlstm_jax.types import Config


@dataclass(frozen=True)
class TrainingSchedule:
    """A run's steps and evaluations, which depend on the configuration and the number of examples alone.

    Numbers that need not be whole are exact fractions, so that no evaluation moves by a rounding error.

    Attributes:
        total_steps: The last step.
        steps_per_epoch: The number of steps in an epoch; not whole where the batch size does not divide the number
            of examples.
        evaluate_every: The number of steps between evaluations; not whole for the same reason.
        steps_per_call: The largest number of steps in one compiled call.
    """

    total_steps: int
    steps_per_epoch: Fraction
    evaluate_every: Fraction
    steps_per_call: int

    @classmethod
    def from_config(cls, config: Config, examples: int) -> Self:
        """Make the schedule of a configuration.

        Args:
            config: The configuration; its sections `train` and `eval` are read.
            examples: The number of training examples.
        """
        train = config["train"]
        evaluation = config["eval"]
        steps_per_epoch = Fraction(examples, train["batch_size"])
        total_steps = train["steps"] or math.ceil(_exact(train["epochs"]) * steps_per_epoch)
        if evaluation["every_steps"]:
            evaluate_every = Fraction(evaluation["every_steps"])
        else:
            evaluate_every = _exact(evaluation["every_epochs"]) * steps_per_epoch
        return cls(total_steps, steps_per_epoch, max(evaluate_every, Fraction(1)), train["steps_per_call"])

    def next_evaluation(self, step: int) -> int:
        """Return the first evaluation after `step`; the last step is always one.

        >>> half = Fraction(5, 2)
        >>> schedule = TrainingSchedule(7, steps_per_epoch=half, evaluate_every=half, steps_per_call=100)
        >>> [schedule.next_evaluation(step) for step in (0, 3, 5)]
        [3, 5, 7]
        """
        index = math.floor(step / self.evaluate_every) + 1
        candidate = math.ceil(index * self.evaluate_every)
        return min(candidate, self.total_steps)

    def next_stop(self, step: int) -> int:
        """Return the step at which the compiled call that starts at `step` ends."""
        return min(step + self.steps_per_call, self.next_evaluation(step))

    def epoch(self, step: int) -> float:
        """Return the number of epochs after `step` steps, to six digits."""
        return round(float(step / self.steps_per_epoch), 6)


def _exact(number: float) -> Fraction:
    """Return the decimal that was written, so that 0.1 is a tenth."""
    return Fraction(str(number))
