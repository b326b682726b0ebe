"""One setting: its default, its bounds and what it means."""

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        default: its value where nothing is said; its type is the type accepted. A tuple: one value, or several in a
            row, each within the bounds.
        meaning: one line for the documentation.
        low, high: bounds, inclusive.
        above: a bound below, exclusive.
        below: a bound above, exclusive.
        choices: the values accepted, where they are few.
    """

    default: Any
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def validation_error(self, value: Any) -> str | None:
        """What would be accepted, if `value` is not."""
        if isinstance(self.default, tuple):
            one = replace(self, default=self.default[0])
            several = isinstance(value, tuple | list) and len(value) > 0
            complaints = [one.validation_error(part) for part in value] if several else [one.validation_error(None)]
            validation_error = next(filter(None, complaints), None)
            return validation_error and f"{validation_error} (or several, with commas between them)"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "True or False"
        if isinstance(self.default, str):
            accepted = isinstance(value, str) and (not self.choices or value in self.choices)
            return None if accepted else (f"one of {', '.join(self.choices)}" if self.choices else "text")
        whole = isinstance(self.default, int)
        fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        fits = fits and math.isfinite(value)
        fits = fits and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        fits = fits and (self.above is None or value > self.above) and (self.below is None or value < self.below)
        return None if fits else f"{'a whole number' if whole else 'a finite number'} {self.bounds}".rstrip()

    @property
    def bounds(self) -> str:
        """In words, e.g. `≥ 0 and < 1`; the choices where there are some."""
        if self.choices:
            return ", ".join(self.choices)
        signs = {"≥": self.low, ">": self.above, "≤": self.high, "<": self.below}
        return " and ".join(f"{sign} {bound:,}" for sign, bound in signs.items() if bound is not None)


def rate(default: float, meaning: str) -> Setting:
    """A number from 0 to below 1."""
    return Setting(default, meaning, low=0, below=1)


def by_level(meaning: str, below: float | None = 1) -> Setting:
    """One value, or one for each level of nesting."""
    return Setting((0.0,), meaning, low=0, below=below)


def seed(meaning: str) -> Setting:
    """The start of something that is drawn."""
    return Setting(0, meaning, low=0, high=2**31 - 1)
