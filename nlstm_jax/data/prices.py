"""Daily prices and volumes of one share, index or coin, from any CSV file of them."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import numpy as np

from nlstm_jax.data.csv_columns import Decimal, Table, Text, file_sha256, first_line, named_alike, read_columns
from nlstm_jax.data.synthetic import price_walk
from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Float

VALUES = ("open", "high", "low", "close", "volume")
_NAMES = ("date", *VALUES)
_ADJUSTED = "adjusted"
_USUAL = {6: _NAMES, 7: ("date", "time", *VALUES)}
"""The columns of a file without a header, by their number."""
_FORMATS = ("%Y-%m-%d", "%Y%m%d")
_LEAST, _MOST = 1e-12, 1e15


@dataclass(frozen=True)
class Prices:
    """A row a day, in the order of time.

    Attributes:
        dates: ascending, none twice.
        values: `open`, `high`, `low`, `close`, `volume`; prices above 0.
        notes: what was made of the file.
        checksums: sha256 by file name, or of generated prices.
    """

    dates: np.ndarray
    values: Float[np.ndarray, "N 5"]
    notes: tuple[str, ...] = ()
    checksums: dict[str, str] = field(default_factory=dict)


def read_prices(path: Path, columns: str = "", date_format: str = "") -> Prices:
    """Read a CSV file with a date, open, high, low, close and volume a row.

    Args:
        path: of the file, with a header or without one. Rows may go forwards or backwards in time.
        columns: empty: a header's columns go by these names in whatever case; without a header there are six columns
            in the order above, or seven with a time of day after the date. `close=Last,date=Day` names columns of a
            header otherwise. `date,close,open,…`: the names of all columns of a file without a header; other names
            are passed over. A column called `adjusted` here is the close after splits and dividends, and all prices of
            the day are multiplied by what it differs from the close.
        date_format: of dates, as `strptime` knows it; empty: `2013-08-09` or `20130809`.

    Raises:
        ConfigError: columns that are not told as above.
        DataError: see `read_columns`; a date that is none, comes twice or out of order, a price that is not above 0, a
            volume below 0, a high below or a low above the day's other prices. File, line and column are named.
    """
    names, ours = _columns(path, columns)
    price, volume = Decimal(_LEAST, _MOST), Decimal(0.0, _MOST)
    kinds = {name: volume if name == "volume" else price for name in VALUES}
    read = {ours[name]: Text() if name == "date" else kinds.get(name, price) for name in ours}
    table = read_columns(path, read, names=names)
    dates = _dates(table, ours["date"], date_format)
    values = np.stack([table.columns[ours[name]] for name in VALUES], axis=1)
    _check_ranges(table, values, ours)
    if _ADJUSTED in ours:
        values[:, :4] *= (table.columns[ours[_ADJUSTED]] / table.columns[ours["close"]])[:, None]
    notes = [f"columns passed over: {', '.join(table.ignored)}"] if table.ignored else []
    if len(dates) > 1 and dates[0] > dates[-1]:
        dates, values = dates[::-1], values[::-1]
        notes.append("rows go back in time: they are read in reverse")
    return Prices(dates, np.ascontiguousarray(values), tuple(notes), {path.name: file_sha256(path)})


def generate_prices(days: int, seed: int) -> Prices:
    """A made-up share, see `synthetic.price_walk`."""
    drawn = price_walk(days, seed)
    values = np.stack([drawn[name] for name in VALUES], axis=1)
    return Prices(drawn["date"], values, (), {"generated": hashlib.sha256(values.tobytes()).hexdigest()})


def write_prices(path: Path, prices: Prices) -> None:
    """Write a CSV file with a header, which `read_prices` reads back."""
    lines = [",".join(_NAMES)]
    for day, row in zip(prices.dates, prices.values, strict=True):
        lines.append(",".join([str(day), *(f"{price:.6f}" for price in row[:4]), f"{row[4]:.0f}"]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _columns(path: Path, told: str) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """The names of a file without a header, or None; and what each of our columns is called in the file."""
    first = first_line(path)
    has_header = not any(re.fullmatch(r"\s*[\d.:/ -]+\s*", field) for field in first)
    if told and "=" in told:
        pairs = [part.partition("=") for part in told.split(",")]
        renamed = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
        if len(renamed) < len(pairs) or len(set(renamed.values())) < len(pairs):
            raise ConfigError(f"config.data.columns: each column once expected, found {told!r}")
        unknown = next((name for name in renamed if name not in (*_NAMES, _ADJUSTED)), None)
        if unknown is not None or not all(renamed.values()):
            raise ConfigError(f"config.data.columns: {', '.join(_NAMES)} = a column expected, found {told!r}")
        if not has_header:
            raise ConfigError(f"config.data.columns: {path} has no header: the names of all its columns expected")
        return None, named_alike(path, first, [name for name in _NAMES if name not in renamed]) | renamed
    if told or not has_header:
        names = tuple(name.strip() for name in told.split(",")) if told else _USUAL.get(len(first))
        if names is None or len(names) != len(first) or any(names.count(name) != 1 for name in _NAMES):
            raise ConfigError(
                f"config.data.columns: {path} has {len(first)} columns: their names in order, with "
                f"{', '.join(_NAMES)} once each, expected, found {told or 'none'}"
            )
        if has_header:
            raise ConfigError(
                f"config.data.columns: {path} has a header, {', '.join(first)}: close=NAME,… expected, found {told!r}"
            )
        return names, {name: name for name in (*_NAMES, _ADJUSTED) if name in names}
    return None, named_alike(path, first, _NAMES)


def _dates(table: Table, column: str, date_format: str) -> np.ndarray:
    """All rows' dates, of which each is later, or each earlier, than the one before."""
    texts = table.columns[column]
    accepted = date_format or " or ".join(_FORMATS)
    days = [_day(text.strip(), date_format) for text in texts]
    if None in days:
        row = days.index(None)
        raise table.error(row, column, texts[row], f"a date written {accepted} (config.data.date_format)")
    dates = np.array(days, "datetime64[D]")
    moves = np.sign(np.diff(dates).astype(int))
    backwards = len(moves) > 0 and (moves < 0).sum() > (moves > 0).sum()
    wrong = np.flatnonzero(moves != (-1 if backwards else 1))
    if len(wrong):
        row = int(wrong[0]) + 1
        before, way = f"the row before, {texts[row - 1]}", "earlier" if backwards else "later"
        raise table.error(row, column, texts[row], f"a date {way} than that of {before},")
    return dates


def _day(text: str, date_format: str) -> date | None:
    for each in (date_format,) if date_format else _FORMATS:
        try:
            return datetime.strptime(text, each).date()
        except ValueError:
            continue
    return None


def _check_ranges(table: Table, values: Float[np.ndarray, "N 5"], ours: dict[str, str]) -> None:
    """The day's highest price is no lower, and its lowest no higher, than the others."""
    prices = values[:, :4]
    for name, bound, accepted in (
        ("high", prices.max(1), "a price not below the day's others"),
        ("low", prices.min(1), "a price not above the day's others"),
    ):
        own = values[:, VALUES.index(name)]
        wrong = np.flatnonzero(own != bound)
        if len(wrong):
            row = int(wrong[0])
            raise table.error(row, ours[name], f"{own[row]:g}", accepted)
