"""The definition of a setting: its default, its bounds and its meaning."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A setting of an experiment.

    Attributes:
        default: The default value. Its type is the type of value that is accepted. If it is a tuple, one value or a
            sequence of several values is accepted, each within the bounds.
        meaning: The meaning of the setting, one line for the documentation.
        low: The smallest value that is accepted. None means no such bound.
        high: The largest value that is accepted. None means no such bound.
        above: A lower bound that is itself not accepted. None means no such bound.
        below: An upper bound that is itself not accepted. None means no such bound.
        choices: The texts that are accepted. If it is empty, every text is accepted.
    """

    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def validation_error(self, value: object) -> str | None:
        """Return a description of the values that are accepted, or None if `value` is one of them."""
        if isinstance(self.default, tuple):
            return self._sequence_error(value)

        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "True or False"

        if isinstance(self.default, str):
            if isinstance(value, str) and (not self.choices or value in self.choices):
                return None
            if self.choices:
                return f"one of {', '.join(self.choices)}"
            return "text"

        if self._is_accepted_number(value):
            return None
        if isinstance(self.default, int):
            return f"a whole number {self.bounds}".rstrip()
        return f"a finite number {self.bounds}".rstrip()

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `≥ 0 and < 1`, or the choices if there are any."""
        if self.choices:
            return ", ".join(self.choices)
        signs = {"≥": self.low, ">": self.above, "≤": self.high, "<": self.below}
        return " and ".join(f"{sign} {bound:,}" for sign, bound in signs.items() if bound is not None)

    def _sequence_error(self, value: object) -> str | None:
        """Return `validation_error` of a setting whose default is a tuple."""
        item_setting = replace(self, default=self.default[0])
        # Only a sequence of at least one item is accepted. None is an item that is never accepted.
        items: Sequence[object] = [None]
        if isinstance(value, tuple | list) and value:
            items = value
        for item in items:
            error = item_setting.validation_error(item)
            if error:
                return f"{error} (or several, with commas between them)"
        return None

    def _is_accepted_number(self, value: object) -> bool:
        """Return True if `value` is a number of the default's type within the bounds.

        If the default is a float, integers are accepted too.
        """
        accepted_types = (int,) if isinstance(self.default, int) else (int, float)
        if not isinstance(value, accepted_types) or isinstance(value, bool):
            return False
        if not math.isfinite(value):
            return False
        if self.low is not None and value < self.low:
            return False
        if self.high is not None and value > self.high:
            return False
        if self.above is not None and value <= self.above:
            return False
        return self.below is None or value < self.below


def rate(default: float, meaning: str) -> Setting:
    """Return a setting for a number from 0 to below 1."""
    return Setting(default, meaning, low=0, below=1)


def by_level(meaning: str, below: float | None = 1) -> Setting:
    """Return a setting for one non-negative value, or one for each level of nesting. The default is 0."""
    return Setting((0.0,), meaning, low=0, below=below)


def seed(meaning: str) -> Setting:
    """Return a setting for the seed of a random generator."""
    return Setting(0, meaning, low=0, high=2**31 - 1)
