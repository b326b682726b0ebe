"""Daily prices and volumes of one share, index or coin, from a CSV file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from nlstm_jax.data.amounts import parse_amounts
from nlstm_jax.data.csv_columns import (
    CsvTable,
    file_sha256,
    find_delimiter,
    first_rows,
    match_column_names,
    read_columns,
)
from nlstm_jax.data.csv_kinds import TextColumn
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.types import Float
from nlstm_jax.wording import count_of

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
_DELIMITERS = ",;\t"
_SHARE_NAMES = ("ticker", "symbol", "stock", "share")
"""The names of a column that says which share a row belongs to."""
_TIME_OF_DAY = re.compile(r"(\d{4}-\d\d-\d\d)[ T]\d\d:.*")


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
        path: A CSV file with or without a header, or with the three header lines of yfinance. Fields are parted by a
            comma, a semicolon or a tab, whichever the first line has most of. Rows may go forward or backward in time.
            Numbers may be written 1,234.5, $12.30 or 1.25M. Rows without any price are left out.
        columns: The names of the columns, in one of three forms. Empty: a header has these names in any case; a file
            without a header has six columns in the order above, or seven with a time of day after the date.
            `close=Last,date=Day`: these columns of a header have other names. `date,close,open,…`: the names of all
            columns of a file without a header; columns with unknown names are ignored. A column named `adjusted` is
            the close after splits and dividends. All prices of a day are then multiplied by adjusted / close. The
            volume may be missing and is 0 then.
        date_format: The format of dates, as for `strptime`. Empty: `2013-08-09` or `20130809`.

    Raises:
        ConfigError: `columns` has none of these forms.
        DataError: As for `read_columns`. Also a date that is invalid, comes twice or is out of order, a price that is
            missing in a row with others or not above 0 (an open of 0 is read as the day's close), a volume below 0,
            rows of several shares, a high below or a low above the day's other prices. The message names file, line
            and column.
    """
    form = _find_form(path, columns)
    kinds = {file_name: TextColumn() for file_name in (*form.file_names.values(), *form.share_columns)}
    table = read_columns(path, kinds, names=form.names, delimiter=form.delimiter, header_lines=form.header_lines)
    for column in form.share_columns:
        _check_one_share(path, table.columns[column])
    amounts = {
        name: _parse_column(table, name, file_name) for name, file_name in form.file_names.items() if name != "date"
    }
    notes = [f"columns passed over: {', '.join(table.ignored)}"] if table.ignored else []
    notes += [
        f"prices are not adjusted; --config.data.columns='adjusted={name}' adjusts them"
        for name in table.ignored
        if name.lower().startswith("adj")
    ]
    table, amounts = _leave_out_empty_rows(table, amounts, notes)
    _check_amounts(table, amounts, form.file_names, notes)
    dates = _parse_dates(table, form.file_names["date"], date_format)
    values = np.stack([amounts[name] for name in VALUES], axis=1)
    _check_ranges(table, values, form.file_names)

    if _ADJUSTED in amounts:
        values[:, :4] *= (amounts[_ADJUSTED] / amounts["close"])[:, None]
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


class _Form(NamedTuple):
    """The form of a file of prices.

    Attributes:
        names: The names of all columns of a file whose header has not exactly one line. Otherwise None.
        file_names: The name in the file of each column in `_NAMES`, and of `adjusted` if the file has it. The volume
            may be missing.
        share_columns: The columns that say which share a row belongs to.
        delimiter: The character between two fields.
        header_lines: The number of lines above the rows, if the file has `names`.
    """

    names: tuple[str, ...] | None
    file_names: dict[str, str]
    share_columns: tuple[str, ...]
    delimiter: str
    header_lines: int = 0


def _find_form(path: Path, columns: str) -> _Form:
    """Find the form of a file of prices.

    Args:
        path: The file.
        columns: The argument `columns` of `read_prices`.
    """
    delimiter = find_delimiter(path, _DELIMITERS)
    rows = first_rows(path, 3, delimiter)
    first = rows[0]
    names: tuple[str, ...] | None = None
    header_lines = 0
    # yfinance writes three lines: the columns, the shares, and the name of the index.
    if len(rows) == 3 and rows[1][0].lower() == "ticker" and rows[2][0].lower() == "date":
        _check_one_share(path, np.array(rows[1][1:], dtype=object))
        names = ("date", *first[1:])
        first = list(names)
        header_lines = 3

    has_header = not any(re.fullmatch(r"\s*[\d.:/ -]+\s*", field) for field in first)
    renamed: dict[str, str] = {}
    if columns and "=" in columns:
        renamed = _parse_renamed(columns)
        if not has_header:
            raise ConfigError(f"config.data.columns: {path} has no header: the names of all its columns expected")
    elif columns or not has_header:
        names = _name_all_columns(path, first, columns)
        if has_header:
            raise ConfigError(
                f"config.data.columns: {path} has a header, {', '.join(first)}: close=NAME,… expected, "
                f"found {columns!r}"
            )
        first = list(names)
    file_names = _find_columns(path, first, renamed)
    if not has_header and _ADJUSTED in first:
        file_names[_ADJUSTED] = _ADJUSTED
    share_columns = tuple(name for name in first if name.lower() in _SHARE_NAMES and name not in file_names.values())
    return _Form(names, file_names, share_columns, delimiter, header_lines)


def _find_columns(path: Path, header: Sequence[str], renamed: dict[str, str]) -> dict[str, str]:
    """Return the name in the file of each column.

    Args:
        path: The file.
        header: The names of all columns.
        renamed: The names that the user has given.

    Raises:
        DataError: A column other than the volume is missing.
    """
    unchanged = [name for name in _NAMES if name not in renamed]
    file_names = match_column_names(path, header, unchanged) | renamed
    if file_names["volume"] not in header and "volume" not in renamed:
        del file_names["volume"]
    for name, file_name in file_names.items():
        if file_name not in header:
            raise DataError(
                f"{path} line 1, column {file_name}: no such column found in {', '.join(header)!r}; "
                f"--config.data.columns={name}=… names the one that has the {name}"
            )
    return file_names


def _check_one_share(path: Path, shares: np.ndarray) -> None:
    """Raise a DataError if rows or columns belong to several shares."""
    names = sorted(set(shares.tolist()) - {""})
    if len(names) > 1:
        raise DataError(f"{path}: {len(names)} shares found, {', '.join(names[:5])}; one in a file accepted")


def _parse_column(table: CsvTable, name: str, file_name: str) -> Float[np.ndarray, "N"]:
    """Return the numbers of a column, NaN where there is none. Raises a DataError at text that is no number."""
    texts = table.columns[file_name]
    values = parse_amounts(texts)
    least = 0.0 if name in ("volume", "open") else _LEAST
    wrong = np.flatnonzero((values < least) | (values > _MOST))
    if len(wrong):
        row = int(wrong[0])
        raise table.error(row, file_name, texts[row], f"a number from {least:g} to {_MOST:g}")
    return values


Amounts: TypeAlias = dict[str, Float[np.ndarray, "N"]]
"""The numbers of each column in `VALUES`, and of `adjusted` if the file has it."""


def _leave_out_empty_rows(table: CsvTable, amounts: Amounts, notes: list[str]) -> tuple[CsvTable, Amounts]:
    """Return the table and the numbers without rows that have no price at all. `notes` gets a line if there are any.

    Raises:
        DataError: No row has a price.
    """
    is_empty = np.all([np.isnan(amounts[name]) for name in VALUES[:4]], axis=0)
    if is_empty.all():
        raise table.error(0, "close", "", "rows with prices")
    if not is_empty.any():
        return table, amounts
    notes.append(
        f"left out: {count_of(int(is_empty.sum()), 'row')} without prices, line {table.lines[is_empty.argmax()]} on"
    )
    kept = ~is_empty
    columns = {name: column[kept] for name, column in table.columns.items()}
    kept_table = replace(table, columns=columns, lines=table.lines[kept])
    return kept_table, {name: values[kept] for name, values in amounts.items()}


def _check_amounts(table: CsvTable, amounts: Amounts, file_names: dict[str, str], notes: list[str]) -> None:
    """Check that no price is missing. A missing volume becomes 0, and an open of 0 becomes the day's close.

    Both are told in `notes`.

    Raises:
        DataError: A price is missing in a row that has others.
    """
    for name, values in amounts.items():
        if name == "volume":
            continue
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            row = int(missing[0])
            value = table.columns[file_names[name]][row]
            raise table.error(row, file_names[name], value, f"a number from {_LEAST:g} to {_MOST:g}")

    has_no_open = amounts["open"] == 0
    if has_no_open.any():
        amounts["open"] = np.where(has_no_open, amounts["close"], amounts["open"])
        notes.append(f"{int(has_no_open.sum()):,} opens of 0 are read as the day's close")
    if "volume" not in amounts:
        amounts["volume"] = np.zeros(len(table.lines))
        notes.append("no column volume: the volume of each day is read as 0")
    has_no_volume = np.isnan(amounts["volume"])
    if has_no_volume.any():
        amounts["volume"] = np.where(has_no_volume, 0.0, amounts["volume"])
        notes.append(f"{int(has_no_volume.sum()):,} missing volumes are read as 0")


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
    if len(names) != len(first) or any(names.count(name) != 1 for name in _NAMES[:-1]):
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
        accepted = f"a date {direction} than that of the row before, {texts[row - 1]}, as of one share,"
        raise table.error(row, column, texts[row], accepted)
    return dates


def _parse_day(text: str, date_format: str) -> date | None:
    """Return the day that a text holds, or None if the text is not in the format. A time of day is left out."""
    formats = (date_format,) if date_format else _FORMATS
    stamp = _TIME_OF_DAY.fullmatch(text)
    if stamp and not date_format:
        text = stamp[1]
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
