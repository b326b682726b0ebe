"""The folder of Kaggle's "Predict Future Sales", as one row per (shop, item) pair and one column per month.

Dimension letters: P pairs, M months (month 0 is January 2013), n rows of any table.
"""

import contextlib
import hashlib
import json
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32

from nlstm_jax.data.csv_columns import (
    CsvTable,
    DateColumn,
    DecimalColumn,
    IntColumn,
    Kind,
    TextColumn,
    file_sha256,
    read_columns,
    repeats,
)
from nlstm_jax.errors import DataError

PUBLIC_ROWS = 2_935_849
FIRST_MONTH = np.datetime64("2013-01", "M")
DOWNLOAD = "kaggle competitions download -c competitive-data-science-predict-future-sales"

MOST_MONTHS = 240
# The bounds keep a (shop, item, month) within one int64 and the table of months within memory.
_ID = IntColumn(0, 9_999_999)
_FILES: dict[str, dict[str, Kind]] = {
    "sales_train.csv": {
        "date": DateColumn(),
        "date_block_num": IntColumn(0, MOST_MONTHS - 1),
        "shop_id": _ID,
        "item_id": _ID,
        "item_price": DecimalColumn(-1e9, 1e9),
        "item_cnt_day": IntColumn(-1_000_000_000, 1_000_000_000),
    },
    "test.csv": {"ID": IntColumn(0, 2**31 - 1), "shop_id": _ID, "item_id": _ID},
    "items.csv": {"item_name": TextColumn(), "item_id": _ID, "item_category_id": _ID},
    "shops.csv": {"shop_name": TextColumn(), "shop_id": _ID},
    "item_categories.csv": {"item_category_name": TextColumn(), "item_category_id": _ID},
}
_REGISTERS = (
    ("items.csv", "item_category_id", "item_categories.csv"),
    ("test.csv", "shop_id", "shops.csv"),
    ("test.csv", "item_id", "items.csv"),
    ("sales_train.csv", "shop_id", "shops.csv"),
    ("sales_train.csv", "item_id", "items.csv"),
)
"""A file, a column of it, and the file that lists every value that the column may have."""
_CACHE_VERSION = 1
# All exceptions that were observed when an .npz file with changed or missing bytes was read.
_BROKEN_CACHE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
_ITEM_SPAN = _ID.high + 1


class SalesRows(NamedTuple):
    """The rows of sales_train.csv: the sales of one pair on one day at one price.

    Attributes:
        dates: The days, datetime64[D] [n].
        months: The month of each day.
        shop_ids: The shops.
        item_ids: The items.
        prices: The price of one unit.
        counts: The units sold. Returns are negative.
    """

    dates: np.ndarray
    months: Int32[np.ndarray, " n"]
    shop_ids: Int32[np.ndarray, " n"]
    item_ids: Int32[np.ndarray, " n"]
    prices: Float64[np.ndarray, " n"]
    counts: Int32[np.ndarray, " n"]


class PairMonths(NamedTuple):
    """The pairs that have any row, sorted by shop and item, with their months.

    Its fields have the meaning of those of `SalesHistory`.
    """

    shop_ids: Int32[np.ndarray, " P"]
    item_ids: Int32[np.ndarray, " P"]
    counts: Float32[np.ndarray, "P M"]
    prices: Float32[np.ndarray, "P M"]


class JoinedPairs(NamedTuple):
    """The months of requested pairs, in the order of the request.

    Attributes:
        counts: The units sold in each month, 0 without a history.
        prices: The mean price in each month, 0 without a history.
        has_history: True if the pair occurs in sales_train.csv.
    """

    counts: Float32[np.ndarray, "n M"]
    prices: Float32[np.ndarray, "n M"]
    has_history: Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class TestPairs:
    """The pairs to forecast, in the order of test.csv."""

    __test__ = False  # The class is named after the file. Without this pytest would collect it.

    ids: Int32[np.ndarray, " n"]
    shop_ids: Int32[np.ndarray, " n"]
    item_ids: Int32[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class SalesHistory:
    """The monthly sales of every (shop, item) pair that occurs in sales_train.csv.

    Attributes:
        shop_ids: The shop of each pair.
        item_ids: The item of each pair.
        counts: The units sold in each month, with returns negative. M is the last month with data + 1.
        prices: The mean of item_price over the rows of each month. A month without sales has the price of the month
            before it, and 0 before the first sale.
        rows: The number of rows of sales_train.csv.
        test: The pairs of test.csv. None if there is no such file.
        item_names: The name of each item by its id. Empty without items.csv.
        checksums: The SHA-256 by file name. Empty for generated sales.
        notes: Remarks for the log.
    """

    shop_ids: Int32[np.ndarray, " P"]
    item_ids: Int32[np.ndarray, " P"]
    counts: Float32[np.ndarray, "P M"]
    prices: Float32[np.ndarray, "P M"]
    rows: int
    test: TestPairs | None = None
    item_names: dict[int, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_sales(folder: Path, cache: Path | None = None) -> SalesHistory:
    """Read, check and pivot the competition's folder.

    Args:
        folder: The folder that holds sales_train.csv. Forecasts need test.csv as well. items.csv, shops.csv and
            item_categories.csv are optional.
        cache: A folder for the result. The next call with the same files reads it from there (0.1 s instead of 2 s).
            There is one .npz file per set of checksums. A broken file is replaced; a file that cannot be written is
            noted.

    Raises:
        DataError: A file is missing or invalid. The message names file, line and column.
    """
    folder = Path(folder)
    checksums = _checksums(folder)
    if cache is None:
        return _read_folder(folder, checksums)

    key = hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()
    cached = Path(cache) / f"sales-v{_CACHE_VERSION}-{key}.npz"
    history = _load(cached, checksums)
    if history is not None:
        return history
    history = _read_folder(folder, checksums)
    try:
        _store(cached, history)
    except OSError as error:  # A full disk costs the next run time, and does not affect this run.
        return replace(history, notes=(*history.notes, f"cache {cache} not written: {error.strerror}"))
    return history


def aggregate(rows: SalesRows) -> PairMonths:
    """Pivot daily rows into one row per pair and one column per month.

    A price below zero is a typing error. Its row counts as a sale, but not in the month's mean price.

    Args:
        rows: At least one row, in any order.

    >>> column = lambda *values: np.array(values, np.int32)
    >>> dates = np.array(["2013-01-05", "2013-01-07", "2013-03-01"], "datetime64[D]")
    >>> months, prices = column(0, 0, 2), np.array([10.0, 12.0, 9.0])
    >>> table = aggregate(SalesRows(dates, months, column(5, 5, 5), column(8, 8, 8), prices, column(2, 1, -1)))
    >>> table.counts.tolist(), table.prices.tolist()
    ([[3.0, 0.0, -1.0]], [[11.0, 11.0, 9.0]])
    """
    length = int(rows.months.max()) + 1
    # A cell is one month of one pair. One sort finds the cells that occur; no others take memory before the table.
    cells, cell_of_row = np.unique(
        _pair_keys(rows.shop_ids, rows.item_ids) * length + rows.months, return_inverse=True
    )
    pairs, pair_of_cell = np.unique(cells // length, return_inverse=True)
    month_of_cell = cells % length
    counts = np.zeros((len(pairs), length), np.float32)
    counts[pair_of_cell, month_of_cell] = np.bincount(cell_of_row, weights=rows.counts)

    is_price = rows.prices >= 0
    price_count = np.bincount(cell_of_row, weights=is_price)
    price_sum = np.bincount(cell_of_row, weights=np.where(is_price, rows.prices, 0.0))
    del cell_of_row
    prices = np.zeros_like(counts)
    known = np.zeros(counts.shape, bool)
    known[pair_of_cell, month_of_cell] = price_count > 0
    prices[pair_of_cell, month_of_cell] = price_sum / np.maximum(price_count, 1)
    for month in range(1, length):
        prices[:, month] = np.where(known[:, month], prices[:, month], prices[:, month - 1])

    shop_ids, item_ids = np.divmod(pairs, _ITEM_SPAN)
    return PairMonths(shop_ids.astype(np.int32), item_ids.astype(np.int32), counts, prices)


def join_pairs(history: SalesHistory, shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]) -> JoinedPairs:
    """Return the months of pairs, in the order of the arguments. A pair without a history has zeros everywhere."""
    rows, has_history = _find_pairs(history, shop_ids, item_ids)
    counts = history.counts[rows]
    prices = history.prices[rows]
    counts[~has_history] = 0
    prices[~has_history] = 0
    return JoinedPairs(counts, prices, has_history)


def _find_pairs(
    history: SalesHistory, shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the row of each pair in the history, and True for each pair that is there. Other rows have no meaning."""
    known_keys = _pair_keys(history.shop_ids, history.item_ids)
    keys = _pair_keys(shop_ids, item_ids)
    rows = np.minimum(np.searchsorted(known_keys, keys), len(known_keys) - 1)
    return rows, known_keys[rows] == keys


def write_submission(path: Path, ids: Int[np.ndarray, " n"], predictions: Float[np.ndarray, "..."]) -> None:
    """Write `ID,item_cnt_month` with predictions clipped to [0, 20]. The file is written completely or not at all.

    Raises:
        ValueError: The number of predictions differs from that of the IDs, or a prediction is not a number.
    """
    ids = np.asarray(ids)
    predictions = np.asarray(predictions, np.float64)
    if ids.shape != predictions.shape or ids.ndim != 1:
        raise ValueError(f"predictions of shape {predictions.shape} found, one for each of {ids.shape} IDs accepted")
    if np.isnan(predictions).any():
        raise ValueError(f"prediction for ID {ids[np.isnan(predictions).argmax()]}: nan found, a number accepted")
    clipped = np.clip(predictions, 0, 20)
    lines = [f"{row_id},{value:.6f}\n" for row_id, value in zip(ids.tolist(), clipped.tolist(), strict=True)]
    with _replace_file(Path(path)) as file:
        file.write(("ID,item_cnt_month\n" + "".join(lines)).encode())


def _pair_keys(shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return one int64 per pair, which sorts by shop and then by item."""
    return shop_ids.astype(np.int64) * _ITEM_SPAN + item_ids


def _checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that is there. Raises a DataError if sales_train.csv is missing."""
    if not (folder / "sales_train.csv").is_file():
        raise DataError(
            f"{folder / 'sales_train.csv'}: no such file found; a folder with sales_train.csv accepted, and test.csv "
            f"in it to forecast ({DOWNLOAD}, then unzip)"
        )
    return {name: file_sha256(folder / name) for name in _FILES if (folder / name).is_file()}


def _read_folder(folder: Path, checksums: dict[str, str]) -> SalesHistory:
    """Read, check and pivot the files of the folder that have a checksum."""
    # sales_train.csv comes last, so that faults of the small files are reported before the large file is read.
    tables = {name: read_columns(folder / name, _FILES[name]) for name in reversed(checksums)}
    for name, column, register in _REGISTERS:
        if name in tables and register in tables:
            tables[name].check_known(column, tables[register])
    notes = _ignored_columns(tables)
    item_names = _item_names(tables["items.csv"]) if "items.csv" in tables else {}
    test = _test_pairs(tables["test.csv"]) if "test.csv" in tables else None
    rows = _sales_rows(tables["sales_train.csv"])
    tables.clear()

    notes += _notes_on_rows(rows)
    history = SalesHistory(*aggregate(rows), len(rows.months), test, item_names, checksums)
    if test is not None:
        _, has_history = _find_pairs(history, test.shop_ids, test.item_ids)
        notes.append(f"test.csv: {has_history.sum():,} of {len(test.ids):,} pairs have a history")
    return replace(history, notes=tuple(notes))


def _ignored_columns(tables: Mapping[str, CsvTable]) -> list[str]:
    """Return a note on each file that has columns which are not used."""
    return [f"{name}: columns not used: {', '.join(table.ignored)}" for name, table in tables.items() if table.ignored]


def _item_names(table: CsvTable) -> dict[int, str]:
    """Return the name of each item by its id. Raises a DataError if an id occurs twice."""
    table.check_unique("item_id")
    return dict(zip(table.columns["item_id"].tolist(), table.columns["item_name"].tolist(), strict=True))


def _test_pairs(table: CsvTable) -> TestPairs:
    """Return the pairs to forecast. Raises a DataError if an ID or a pair occurs twice."""
    table.check_unique("ID")
    table.check_unique("shop_id", "item_id")
    return TestPairs(table.columns["ID"], table.columns["shop_id"], table.columns["item_id"])


def _sales_rows(table: CsvTable) -> SalesRows:
    """Return the rows of sales_train.csv. Raises a DataError if a row's month is not that of its date."""
    dates = table.columns["date"]
    months = table.columns["date_block_num"]
    expected = (dates.astype("datetime64[M]") - FIRST_MONTH).astype(np.int64)
    is_wrong = expected != months
    if is_wrong.any():
        row = int(is_wrong.argmax())
        day = dates[row].item().strftime("%d.%m.%Y")
        if expected[row] < 0:
            raise table.error(row, "date", day, "a day from 01.01.2013 on")
        accepted = f"{expected[row]}, the month of its date {day} (0 is January 2013)"
        raise table.error(row, "date_block_num", months[row], accepted)
    return SalesRows(
        dates=dates,
        months=months,
        shop_ids=table.columns["shop_id"],
        item_ids=table.columns["item_id"],
        prices=table.columns["item_price"],
        counts=table.columns["item_cnt_day"],
    )


def _notes_on_rows(rows: SalesRows) -> list[str]:
    """Return notes for the log on unusual rows. Such rows are neither repaired nor left out."""
    notes = []
    if len(rows.months) != PUBLIC_ROWS:
        notes.append(f"sales_train.csv: {len(rows.months):,} rows; the complete public file has {PUBLIC_ROWS:,}")
    keys = _pair_keys(rows.shop_ids, rows.item_ids) * 10_000
    keys += (rows.dates - rows.dates.min()).astype(np.int64)
    repeated = len(repeats([keys, rows.prices, rows.counts]))
    if repeated:
        notes.append(f"sales_train.csv: {repeated:,} rows repeat another one exactly; each counts")
    negative = int((rows.prices < 0).sum())
    if negative:
        notes.append(f"sales_train.csv: {negative:,} rows with a price below zero, not in any mean price")
    low = rows.counts.min()
    high = rows.counts.max()
    highest_price = rows.prices.max()
    notes.append(f"sales_train.csv: item_cnt_day from {low} to {high:,}, item_price up to {highest_price:,.2f}")
    return notes


def _load(path: Path, checksums: dict[str, str]) -> SalesHistory | None:
    """Return the history that `_store` wrote, or None if the file is missing or broken."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = json.loads(arrays["known"].tobytes())
            test = TestPairs(*arrays["test"]) if known["has_test"] else None
            pairs = PairMonths(*(arrays[name] for name in PairMonths._fields))
    except _BROKEN_CACHE:
        return None
    return SalesHistory(
        *pairs,
        rows=known["rows"],
        test=test,
        item_names=dict(known["item_names"]),
        checksums=checksums,
        notes=tuple(known["notes"]),
    )


def _store(path: Path, history: SalesHistory) -> None:
    """Write a history as an .npz file."""
    test = history.test
    known = {
        "rows": history.rows,
        "has_test": test is not None,
        "item_names": list(history.item_names.items()),
        "notes": history.notes,
    }
    arrays = {name: getattr(history, name) for name in PairMonths._fields}
    test_columns = [] if test is None else [test.ids, test.shop_ids, test.item_ids]
    arrays["test"] = np.array(test_columns, np.int32)
    arrays["known"] = np.frombuffer(json.dumps(known).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replace_file(path) as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def _replace_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends, and is deleted if the block raises."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
