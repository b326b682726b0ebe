"""The kinds of columns of a CSV file: how the fields of a block become values, and which fields are wrong.

A kind parses all fields of a block at once, as arrays of bytes.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

# 15 digits fit float64's mantissa, and 10^15 is exact too: one division rounds as Python's float() does.
_MOST_DIGITS = 15
_POWERS = 10.0 ** np.arange(_MOST_DIGITS + 1)
_NUMBER = re.compile(r"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*", re.ASCII)


class Fields(NamedTuple):
    """The fields of one column in one block.

    Attributes:
        data: The bytes of the block in UTF-8. At least one byte follows the last field.
        starts: The offset at which each field starts. Field i is `data[starts[i]:ends[i]]`.
        ends: The offset behind each field.
    """

    data: bytes
    starts: Int[np.ndarray, " rows"]
    ends: Int[np.ndarray, " rows"]

    def text(self, row: int) -> str:
        """Return the field of one row as a string."""
        return self.data[self.starts[row] : self.ends[row]].decode()


class Parsed(NamedTuple):
    """The parsed values of one column in one block.

    Attributes:
        values: One value per row.
        wrong: True where a field is not acceptable. The value there has no meaning.
    """

    values: np.ndarray
    wrong: Bool[np.ndarray, " rows"]


@dataclass(frozen=True)
class IntColumn:
    """A column of integers from `low` to `high`, as int32. `2.0` is an integer too."""

    low: int
    high: int

    @property
    def accepted(self) -> str:
        """The accepted values, for error messages."""
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, fields: Fields) -> Parsed:
        """Parse the fields of a block."""
        values, wrong = _parse_numbers(fields)
        wrong |= (values < self.low) | (values > self.high) | (values != np.floor(values))
        return Parsed(np.where(wrong, 0, values).astype(np.int32), wrong)


@dataclass(frozen=True)
class DecimalColumn:
    """A column of finite numbers from `low` to `high`, as float64, equal to Python's `float` of each field."""

    low: float
    high: float

    @property
    def accepted(self) -> str:
        """The accepted values, for error messages."""
        return f"a number from {self.low:g} to {self.high:g}"

    def parse(self, fields: Fields) -> Parsed:
        """Parse the fields of a block."""
        values, wrong = _parse_numbers(fields)
        return Parsed(values, wrong | (values < self.low) | (values > self.high))


@dataclass(frozen=True)
class DateColumn:
    """A column of calendar days written dd.mm.yyyy or yyyy-mm-dd, as datetime64[D]."""

    accepted: str = "a day of the calendar written dd.mm.yyyy or yyyy-mm-dd"

    def parse(self, fields: Fields) -> Parsed:
        """Parse the fields of a block."""
        data, starts, ends = fields
        characters = np.frombuffer(data, np.uint8).take(starts[:, None] + np.arange(10), mode="clip")
        is_iso = characters[:, 4] == ord("-")
        day_first = [0, 1, 3, 4, 6, 7, 8, 9]
        year_first = [8, 9, 5, 6, 0, 1, 2, 3]
        numerals = np.where(is_iso[:, None], characters[:, year_first], characters[:, day_first])
        digits = numerals - np.uint8(ord("0"))
        iso_separators = (characters[:, [4, 7]] == ord("-")).all(axis=1)
        dots = (characters[:, [2, 5]] == ord(".")).all(axis=1)
        wrong = (ends - starts != 10) | (digits > 9).any(axis=1) | ~(iso_separators | dots)

        day = digits[:, :2] @ [10, 1]
        month = digits[:, 2:4] @ [10, 1]
        year = digits[:, 4:] @ [1000, 100, 10, 1]
        wrong |= (month < 1) | (month > 12) | (year < 1)

        months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
        dates = months.astype("datetime64[D]") + (day - 1)
        # Day 0, or a day past the end of its month, falls into a neighboring month.
        return Parsed(dates, wrong | (dates.astype("datetime64[M]") != months))


@dataclass(frozen=True)
class TextColumn:
    """A column of any text, as an object array of str."""

    accepted: str = "text"

    def parse(self, fields: Fields) -> Parsed:
        """Parse the fields of a block."""
        texts = [fields.text(row) for row in range(len(fields.starts))]
        return Parsed(np.array(texts, dtype=object), np.zeros(len(texts), bool))


@dataclass(frozen=True)
class NameColumn:
    """A column of names without blanks around them, none of which is empty, as an object array of str."""

    accepted: str = "a name"

    def parse(self, fields: Fields) -> Parsed:
        """Parse the fields of a block."""
        names = np.array([fields.text(row).strip() for row in range(len(fields.starts))], dtype=object)
        return Parsed(names, names == "")


Kind: TypeAlias = IntColumn | DecimalColumn | DateColumn | TextColumn | NameColumn
"""The type of a column's values. `accepted` describes them in error messages."""


def _parse_numbers(fields: Fields) -> Parsed:
    """Parse decimal numbers as float64.

    Regular numbers are parsed together, digit by digit. The few with exponents, plus signs, blanks or many digits are
    parsed one by one.
    """
    characters = np.frombuffer(fields.data, np.uint8)
    width = fields.ends - fields.starts
    negative = characters[fields.starts] == ord("-")
    mantissa = np.zeros(len(width), np.int64)
    digits, points, decimals = np.zeros((3, len(width)), np.int8)
    for offset in range(min(int(width.max()), _MOST_DIGITS + 2)):
        inside = width > offset
        character = characters.take(fields.starts + offset, mode="clip")
        digit = character - np.uint8(ord("0"))
        is_digit = inside & (digit < 10)
        mantissa = np.where(is_digit, mantissa * 10 + digit, mantissa)
        digits += is_digit
        decimals += is_digit & (points > 0)
        points += inside & (character == ord("."))

    regular = (digits + points + negative == width) & (points <= 1) & (digits >= 1) & (digits <= _MOST_DIGITS)
    values = np.where(negative, -mantissa, mantissa) / _POWERS[np.minimum(decimals, _MOST_DIGITS)]
    wrong = ~regular
    for row in np.flatnonzero(wrong).tolist():
        text = fields.text(row)
        if _NUMBER.fullmatch(text) and np.isfinite(float(text)):
            values[row] = float(text)
            wrong[row] = False
    return Parsed(values, wrong)
