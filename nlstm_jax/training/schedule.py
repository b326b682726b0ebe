"""How long a run is and when it evaluates: numbers that depend on the configuration alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self


@dataclass(frozen=True)
class TrainingSchedule:
    """Steps and epochs; exact fractions, so that no evaluation moves by a rounding error.

    Attributes:
        total_steps: the last step.
        steps_per_epoch: not whole where the batch size does not divide the number of examples.
        evaluate_every: steps between evaluations; not whole for the same reason.
        steps_per_call: the most steps in one compiled call.
    """

    total_steps: int
    steps_per_epoch: Fraction
    evaluate_every: Fraction
    steps_per_call: int

    @classmethod
    def of(cls, config: Mapping[str, Any], examples: int) -> Self:
        """The plan of a configuration on so many training examples."""
        train, evaluation = config["train"], config["eval"]
        per_epoch = Fraction(examples, train["batch_size"])
        total = train["steps"] or math.ceil(_exact(train["epochs"]) * per_epoch)
        every = Fraction(evaluation["every_steps"]) or _exact(evaluation["every_epochs"]) * per_epoch
        return cls(total, per_epoch, max(every, Fraction(1)), train["steps_per_call"])

    def next_evaluation(self, step: int) -> int:
        """The first evaluation after `step`; the last step is always one.

        >>> half = Fraction(5, 2)
        >>> plan = TrainingSchedule(7, steps_per_epoch=half, evaluate_every=half, steps_per_call=100)
        >>> [plan.next_evaluation(step) for step in (0, 3, 5)]
        [3, 5, 7]
        """
        number = math.floor(step / self.evaluate_every) + 1
        candidate = math.ceil(number * self.evaluate_every)
        return min(candidate, self.total_steps)

    def next_stop(self, step: int) -> int:
        """Where the compiled call that starts at `step` ends."""
        return min(step + self.steps_per_call, self.next_evaluation(step))


def _exact(number: float) -> Fraction:
    """The decimal that was written: 0.1 is a tenth."""
    return Fraction(str(number))
