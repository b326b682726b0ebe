"""Daily prices and volumes of one share, index or coin, from a CSV file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import numpy as np

from nlstm_jax.data.csv_columns import CsvTable, file_sha256, first_rows, match_column_names, read_columns
from nlstm_jax.data.csv_kinds import DecimalColumn, Kind, TextColumn
from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Float

VALUES = ("open", "high", "low", "close", "volume")
_ROUNDING = 1e-9
"""The relative difference between two prices that is taken for a rounding error."""
_NAMES = ("date", *VALUES)
_ADJUSTED = "adjusted"
_USUAL = {6: _NAMES, 7: ("date", "time", *VALUES)}
"""The columns of a file without a header, by their count."""
_FORMATS = ("%Y-%m-%d", "%Y%m%d")
_LEAST = 1e-12
_MOST = 1e15


@dataclass(frozen=True)
class Prices:
    """Prices and volumes, one row per day, in the order of time.

    Attributes:
        dates: The days, ascending, each once.
        values: The `open`, `high`, `low`, `close` and `volume` of each day. Prices are above 0.
        notes: Remarks on how the file was read.
        checksums: The SHA-256 by file name, or of the generated prices.
    """

    dates: np.ndarray
    values: Float[np.ndarray, "N 5"]
    notes: tuple[str, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)


def read_prices(path: Path, columns: str = "", date_format: str = "") -> Prices:
    """Read a CSV file whose rows hold a date, open, high, low, close and volume.

    Args:
        path: A CSV file with or without a header. Its rows may go forward or backward in time.
        columns: The names of the columns, in one of three forms. Empty: a header has these names in any case; a file
            without a header has six columns in the order above, or seven with a time of day after the date.
            `close=Last,date=Day`: these columns of a header have other names. `date,close,open,…`: the names of all
            columns of a file without a header; columns with unknown names are ignored. A column named `adjusted` is
            the close after splits and dividends. All prices of a day are then multiplied by adjusted / close.
        date_format: The format of dates, as for `strptime`. Empty: `2013-08-09` or `20130809`.

    Raises:
        ConfigError: `columns` has none of these forms.
        DataError: As for `read_columns`. Also a date that is invalid, comes twice or is out of order, a price that is
            not above 0, a volume below 0, a high below or a low above the day's other prices. The message names file,
            line and column.
    """
    names, file_names = _match_columns(path, columns)
    kinds = {file_name: _column_kind(name) for name, file_name in file_names.items()}
    table = read_columns(path, kinds, names=names)
    dates = _parse_dates(table, file_names["date"], date_format)
    values = np.stack([table.columns[file_names[name]] for name in VALUES], axis=1)
    _check_ranges(table, values, file_names)

    if _ADJUSTED in file_names:
        adjusted = table.columns[file_names[_ADJUSTED]]
        close = table.columns[file_names["close"]]
        values[:, :4] *= (adjusted / close)[:, None]
    notes = []
    if table.ignored:
        notes.append(f"columns passed over: {', '.join(table.ignored)}")
    if len(dates) > 1 and dates[0] > dates[-1]:
        dates = dates[::-1]
        values = values[::-1]
        notes.append("rows go back in time: they are read in reverse")
    return Prices(dates, np.ascontiguousarray(values), tuple(notes), {path.name: file_sha256(path)})


def write_prices(path: Path, prices: Prices) -> None:
    """Write a CSV file with a header. `read_prices` reads it."""
    lines = [",".join(_NAMES)]
    for day, row in zip(prices.dates, prices.values, strict=True):
        fields = [f"{price:.6f}" for price in row[:4]]
        lines.append(",".join([str(day), *fields, f"{row[4]:.0f}"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _column_kind(name: str) -> Kind:
    """Return the kind of the column that holds `name`."""
    if name == "date":
        return TextColumn()
    if name == "volume":
        return DecimalColumn(0.0, _MOST)
    return DecimalColumn(_LEAST, _MOST)


def _match_columns(path: Path, columns: str) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """Find the columns of a file of prices.

    Args:
        path: The file.
        columns: The argument `columns` of `read_prices`.

    Returns:
        The names of all columns of a file without a header, or None; and the name in the file of each column in
        `_NAMES`, and of `adjusted` if the file has it.
    """
    first = first_rows(path, 1)[0]
    has_header = not any(re.fullmatch(r"\s*[\d.:/ -]+\s*", field) for field in first)
    if columns and "=" in columns:
        renamed = _parse_renamed(columns)
        if not has_header:
            raise ConfigError(f"config.data.columns: {path} has no header: the names of all its columns expected")
        unchanged = [name for name in _NAMES if name not in renamed]
        return None, match_column_names(path, first, unchanged) | renamed
    if columns or not has_header:
        names = _name_all_columns(path, first, columns)
        if has_header:
            raise ConfigError(
                f"config.data.columns: {path} has a header, {', '.join(first)}: close=NAME,… expected, "
                f"found {columns!r}"
            )
        return names, {name: name for name in (*_NAMES, _ADJUSTED) if name in names}
    return None, match_column_names(path, first, _NAMES)


def _parse_renamed(columns: str) -> dict[str, str]:
    """Parse `close=Last,date=Day` into the name in the file by column. Raises a ConfigError if it is invalid."""
    pairs = [part.partition("=") for part in columns.split(",")]
    renamed = {name.strip(): file_name.strip() for name, _, file_name in pairs}
    if len(renamed) < len(pairs) or len(set(renamed.values())) < len(pairs):
        raise ConfigError(f"config.data.columns: each column once expected, found {columns!r}")
    is_known = all(name in (*_NAMES, _ADJUSTED) for name in renamed)
    if not is_known or not all(renamed.values()):
        raise ConfigError(f"config.data.columns: {', '.join(_NAMES)} = a column expected, found {columns!r}")
    return renamed


def _name_all_columns(path: Path, first: Sequence[str], columns: str) -> tuple[str, ...]:
    """Return the names of all columns of a file, from `columns` or, if it is empty, from the number of columns.

    Raises:
        ConfigError: The file has another number of columns, or a required name is not there exactly once.
    """
    names = _USUAL.get(len(first), ())
    if columns:
        names = tuple(name.strip() for name in columns.split(","))
    if len(names) != len(first) or any(names.count(name) != 1 for name in _NAMES):
        raise ConfigError(
            f"config.data.columns: {path} has {len(first)} columns: their names in order, with "
            f"{', '.join(_NAMES)} once each, expected, found {columns or 'none'}"
        )
    return names


def _parse_dates(table: CsvTable, column: str, date_format: str) -> np.ndarray:
    """Return the dates of all rows, as datetime64[D].

    Raises:
        DataError: A date is invalid, or the dates are neither all ascending nor all descending.
    """
    texts = table.columns[column]
    days = [_parse_day(text.strip(), date_format) for text in texts]
    if None in days:
        row = days.index(None)
        accepted = date_format or " or ".join(_FORMATS)
        raise table.error(row, column, texts[row], f"a date written {accepted} (config.data.date_format)")

    dates = np.array(days, "datetime64[D]")
    moves = np.sign(np.diff(dates).astype(int))
    is_backward = len(moves) > 0 and (moves < 0).sum() > (moves > 0).sum()
    wrong = np.flatnonzero(moves != (-1 if is_backward else 1))
    if len(wrong):
        row = int(wrong[0]) + 1
        direction = "earlier" if is_backward else "later"
        accepted = f"a date {direction} than that of the row before, {texts[row - 1]},"
        raise table.error(row, column, texts[row], accepted)
    return dates


def _parse_day(text: str, date_format: str) -> date | None:
    """Return the day that a text holds, or None if the text is not in the format."""
    formats = (date_format,) if date_format else _FORMATS
    for candidate in formats:
        try:
            return datetime.strptime(text, candidate).date()
        except ValueError:
            continue
    return None


def _check_ranges(table: CsvTable, values: Float[np.ndarray, "N 5"], file_names: dict[str, str]) -> None:
    """Raise a DataError if a day's high is below, or its low above, another price of that day.

    Prices that a program has adjusted may differ in their last digits, so that a rounding error is accepted.
    """
    prices = values[:, :4]
    extremes = (("high", prices.argmax(1), "below"), ("low", prices.argmin(1), "above"))
    for name, extreme_columns, side in extremes:
        column = values[:, VALUES.index(name)]
        extreme = prices[np.arange(len(prices)), extreme_columns]
        wrong = np.flatnonzero(~np.isclose(column, extreme, rtol=_ROUNDING, atol=0))
        if len(wrong):
            row = int(wrong[0])
            other = VALUES[extreme_columns[row]]
            accepted = f"a price not {side} the day's {other}, {float(extreme[row])!r},"
            raise table.error(row, file_names[name], repr(float(column[row])), accepted)
