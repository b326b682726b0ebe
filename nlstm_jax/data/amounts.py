"""Prices and volumes as people's files have them: `1,234.5`, `$12.30`, `1.25M`, `null`."""

import math
import re
from collections.abc import Iterable

import numpy as np

from nlstm_jax.types import Float

_AMOUNT = re.compile(
    r"[$€£]?\s*(?P<number>[+-]?(\d{1,3}(,\d{3})+(\.\d*)?|\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)\s*(?P<unit>[KMBkmb]?)",
    re.ASCII,
)
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_MISSING = frozenset({"", "-", "null", "none", "nan", "n/a", "na"})


def parse_amounts(texts: Iterable[str]) -> Float[np.ndarray, "N"]:
    """Return the numbers that texts stand for, NaN for a missing one, and −inf for text that is no number.

    >>> parse_amounts(["1,234.5", "$12.30", "1.25M", "null", "12 apples"]).tolist()
    [1234.5, 12.3, 1250000.0, nan, -inf]
    """
    return np.array([_parse_amount(text.strip()) for text in texts], np.float64)


def _parse_amount(text: str) -> float:
    """Return the number that a text without blanks around it stands for. See `parse_amounts`."""
    if text.lower() in _MISSING:
        return math.nan
    match = _AMOUNT.fullmatch(text)
    if match is None:
        return -math.inf
    unit = _UNITS[match["unit"].lower()]
    number = float(match["number"].replace(",", ""))
    return number if unit == 1 else number * unit
