"""The folder of Kaggle's "Predict Future Sales": one row a (shop, item) pair, one column a month.

Letters here: P pairs, M months (month 0 is January 2013), n rows of whatever is asked for.
"""

import contextlib
import hashlib
import json
import lzma
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32

from nlstm_jax.data.csv_columns import Date, Decimal, Kind, Table, Text, Whole, file_sha256, read_columns, repeats
from nlstm_jax.errors import DataError

PUBLIC_ROWS = 2_935_849
FIRST_MONTH = np.datetime64("2013-01", "M")
DOWNLOAD = "kaggle competitions download -c competitive-data-science-predict-future-sales"

MOST_MONTHS = 240
# The bounds keep a (shop, item, month) within one int64 and the table of months within memory.
_ID = Whole(0, 9_999_999)
_FILES: dict[str, dict[str, Kind]] = {
    "sales_train.csv": {
        "date": Date(),
        "date_block_num": Whole(0, MOST_MONTHS - 1),
        "shop_id": _ID,
        "item_id": _ID,
        "item_price": Decimal(-1e9, 1e9),
        "item_cnt_day": Whole(-1_000_000_000, 1_000_000_000),
    },
    "test.csv": {"ID": Whole(0, 2**31 - 1), "shop_id": _ID, "item_id": _ID},
    "items.csv": {"item_name": Text(), "item_id": _ID, "item_category_id": _ID},
    "shops.csv": {"shop_name": Text(), "shop_id": _ID},
    "item_categories.csv": {"item_category_name": Text(), "item_category_id": _ID},
}
_REGISTERS = (
    ("items.csv", "item_category_id", "item_categories.csv"),
    ("test.csv", "shop_id", "shops.csv"),
    ("test.csv", "item_id", "items.csv"),
    ("sales_train.csv", "shop_id", "shops.csv"),
    ("sales_train.csv", "item_id", "items.csv"),
)
_CACHE_VERSION = 1
# whatever reading an .npz file with arbitrary bytes changed or cut off was seen to raise
_BROKEN_CACHE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
_ITEM_SPAN = _ID.high + 1


class SalesRows(NamedTuple):
    """The rows of sales_train.csv: what one pair sold on one day, at which price."""

    dates: np.ndarray  # datetime64[D] [n]
    months: Int32[np.ndarray, " n"]
    shop_ids: Int32[np.ndarray, " n"]
    item_ids: Int32[np.ndarray, " n"]
    prices: Float64[np.ndarray, " n"]
    counts: Int32[np.ndarray, " n"]


class PairMonths(NamedTuple):
    """The pairs that occur, sorted by shop and item, and their months."""

    shop_ids: Int32[np.ndarray, " P"]
    item_ids: Int32[np.ndarray, " P"]
    counts: Float32[np.ndarray, "P M"]
    prices: Float32[np.ndarray, "P M"]


class JoinedPairs(NamedTuple):
    """The months of the pairs asked for, in that order."""

    counts: Float32[np.ndarray, "n M"]
    prices: Float32[np.ndarray, "n M"]
    has_history: Bool[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class TestPairs:
    """The pairs to forecast, in test.csv's order."""

    __test__ = False  # the name is the file's; pytest would take the class for a test

    ids: Int32[np.ndarray, " n"]
    shop_ids: Int32[np.ndarray, " n"]
    item_ids: Int32[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class SalesHistory:
    """Months of sales of every (shop, item) pair that occurs in sales_train.csv.

    `counts` are monthly sums, returns negative; M is the last month with data + 1. `prices` are means of
    item_price over a month's rows, carried forward where nothing was sold, 0 before the first sale.
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
    """Reads, checks and pivots the competition's folder.

    Args:
        folder: holds sales_train.csv; test.csv to forecast; items.csv, shops.csv, item_categories.csv enrich.
        cache: a folder for the result, which the next call with the same files takes from there (0.1 s instead of
            2 s). One .npz a set of checksums; a broken one is made again, one that cannot be written is noted.

    Raises:
        DataError: a missing file, or content that is not what the format says: file, line and column named.
    """
    folder = Path(folder)
    checksums = _checksums(folder)
    stored = None
    if cache is not None:
        key = hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()
        stored = Path(cache) / f"sales-v{_CACHE_VERSION}-{key}.npz"
        history = _load(stored, checksums)
        if history is not None:
            return history
    history = _read(folder, checksums)
    if stored is not None:
        try:
            _store(stored, history)
        except OSError as error:  # a full disk costs the next run time, and this run nothing
            return replace(history, notes=(*history.notes, f"cache {cache} not written: {error.strerror}"))
    return history


def aggregate(rows: SalesRows) -> PairMonths:
    """Pivots rows of days into one row a pair and one column a month.

    A price below zero is a slip of the keyboard: its row counts as a sale, and not for the month's mean price.

    Args:
        rows: at least one row, in any order.

    >>> column = lambda *values: np.array(values, np.int32)
    >>> dates = np.array(["2013-01-05", "2013-01-07", "2013-03-01"], "datetime64[D]")
    >>> months, prices = column(0, 0, 2), np.array([10.0, 12.0, 9.0])
    >>> table = aggregate(SalesRows(dates, months, column(5, 5, 5), column(8, 8, 8), prices, column(2, 1, -1)))
    >>> table.counts.tolist(), table.prices.tolist()
    ([[3.0, 0.0, -1.0]], [[11.0, 11.0, 9.0]])
    """
    length = int(rows.months.max()) + 1
    # one sort: a cell is a pair's month, and only cells that occur take memory before the table is filled
    cells, cell_of_row = np.unique(
        _pair_keys(rows.shop_ids, rows.item_ids) * length + rows.months, return_inverse=True
    )
    pairs, pair_of_cell = np.unique(cells // length, return_inverse=True)
    month_of_cell = cells % length
    counts = np.zeros((len(pairs), length), np.float32)
    counts[pair_of_cell, month_of_cell] = np.bincount(cell_of_row, weights=rows.counts)
    is_price = rows.prices >= 0
    number = np.bincount(cell_of_row, weights=is_price)
    total = np.bincount(cell_of_row, weights=np.where(is_price, rows.prices, 0.0))
    del cell_of_row
    prices = np.zeros_like(counts)
    known = np.zeros(counts.shape, bool)
    known[pair_of_cell, month_of_cell] = number > 0
    prices[pair_of_cell, month_of_cell] = total / np.maximum(number, 1)
    for month in range(1, length):
        prices[:, month] = np.where(known[:, month], prices[:, month], prices[:, month - 1])
    shop_ids, item_ids = np.divmod(pairs, _ITEM_SPAN)
    return PairMonths(shop_ids.astype(np.int32), item_ids.astype(np.int32), counts, prices)


def join_pairs(history: SalesHistory, shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]) -> JoinedPairs:
    """The months of the given pairs, in their order; a pair without a history has zeros everywhere."""
    place, has_history = _places(history, shop_ids, item_ids)
    counts, prices = history.counts[place], history.prices[place]
    counts[~has_history] = 0
    prices[~has_history] = 0
    return JoinedPairs(counts, prices, has_history)


def _places(
    history: SalesHistory, shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The row of each pair in the history, and whether it is there at all."""
    known, asked = _pair_keys(history.shop_ids, history.item_ids), _pair_keys(shop_ids, item_ids)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return place, known[place] == asked


def write_submission(path: Path, ids: Int[np.ndarray, " n"], predictions: Float[np.ndarray, "..."]) -> None:
    """Writes `ID,item_cnt_month` with predictions clipped to [0, 20], whole or not at all.

    Raises:
        ValueError: not one prediction an ID, or one that is not a number.
    """
    ids, predictions = np.asarray(ids), np.asarray(predictions, np.float64)
    if ids.shape != predictions.shape or ids.ndim != 1:
        raise ValueError(f"predictions of shape {predictions.shape} found, one for each of {ids.shape} IDs accepted")
    if np.isnan(predictions).any():
        raise ValueError(f"prediction for ID {ids[np.isnan(predictions).argmax()]}: nan found, a number accepted")
    clipped = np.clip(predictions, 0, 20)
    lines = [f"{row},{value:.6f}\n" for row, value in zip(ids.tolist(), clipped.tolist(), strict=True)]
    with _replacing(Path(path)) as file:
        file.write(("ID,item_cnt_month\n" + "".join(lines)).encode())


def _pair_keys(shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return shop_ids.astype(np.int64) * _ITEM_SPAN + item_ids


def _checksums(folder: Path) -> dict[str, str]:
    if not (folder / "sales_train.csv").is_file():
        raise DataError(
            f"{folder / 'sales_train.csv'}: no such file found; a folder with sales_train.csv accepted, and test.csv "
            f"in it to forecast ({DOWNLOAD}, then unzip)"
        )
    return {name: file_sha256(folder / name) for name in _FILES if (folder / name).is_file()}


def _read(folder: Path, checksums: dict[str, str]) -> SalesHistory:
    # sales_train.csv comes last: the small files' faults show before the large one is read
    tables = {name: read_columns(folder / name, _FILES[name]) for name in reversed(checksums)}
    for name, column, register in _REGISTERS:
        if name in tables and register in tables:
            tables[name].check_known(column, tables[register])
    notes = [
        f"{name}: columns not used: {', '.join(table.ignored)}" for name, table in tables.items() if table.ignored
    ]
    item_names = _item_names(tables["items.csv"]) if "items.csv" in tables else {}
    test = _test_pairs(tables["test.csv"]) if "test.csv" in tables else None
    rows = _sales_rows(tables["sales_train.csv"])
    tables.clear()
    notes += _oddities(rows)
    history = SalesHistory(*aggregate(rows), len(rows.months), test, item_names, checksums)
    if test is not None:
        _, has_history = _places(history, test.shop_ids, test.item_ids)
        notes.append(f"test.csv: {has_history.sum():,} of {len(test.ids):,} pairs have a history")
    return replace(history, notes=tuple(notes))


def _item_names(table: Table) -> dict[int, str]:
    table.check_unique("item_id")
    return dict(zip(table.columns["item_id"].tolist(), table.columns["item_name"].tolist(), strict=True))


def _test_pairs(table: Table) -> TestPairs:
    table.check_unique("ID")
    table.check_unique("shop_id", "item_id")
    return TestPairs(table.columns["ID"], table.columns["shop_id"], table.columns["item_id"])


def _sales_rows(table: Table) -> SalesRows:
    dates, months = table.columns["date"], table.columns["date_block_num"]
    expected = (dates.astype("datetime64[M]") - FIRST_MONTH).astype(np.int64)
    disagrees = expected != months
    if disagrees.any():
        row = int(disagrees.argmax())
        day = dates[row].item().strftime("%d.%m.%Y")
        accepted = f"{expected[row]}, the month of its date {day} (0 is January 2013)"
        if expected[row] < 0:
            raise table.error(row, "date", day, "a day from 01.01.2013 on")
        raise table.error(row, "date_block_num", months[row], accepted)
    return SalesRows(dates, months, *(table.columns[name] for name in list(_FILES["sales_train.csv"])[2:]))


def _oddities(rows: SalesRows) -> list[str]:
    """What a reader of the log should know of the rows; nothing here is mended or left out."""
    notes = []
    if len(rows.months) != PUBLIC_ROWS:
        notes.append(f"sales_train.csv: {len(rows.months):,} rows; the complete public file has {PUBLIC_ROWS:,}")
    keys = _pair_keys(rows.shop_ids, rows.item_ids) * 10_000 + (rows.dates - rows.dates.min()).astype(np.int64)
    repeated = len(repeats([keys, rows.prices, rows.counts]))
    if repeated:
        notes.append(f"sales_train.csv: {repeated:,} rows repeat another one exactly; each counts")
    negative = int((rows.prices < 0).sum())
    if negative:
        notes.append(f"sales_train.csv: {negative:,} rows with a price below zero, not in any mean price")
    low, high, dearest = rows.counts.min(), rows.counts.max(), rows.prices.max()
    notes.append(f"sales_train.csv: item_cnt_day from {low} to {high:,}, item_price up to {dearest:,.2f}")
    return notes


def _load(path: Path, checksums: dict[str, str]) -> SalesHistory | None:
    """What `_store` wrote, or None where there is nothing, or nothing whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = json.loads(arrays["known"].tobytes())
            test = TestPairs(*arrays["test"]) if known["has_test"] else None
            pairs = PairMonths(*(arrays[name] for name in PairMonths._fields))
    except _BROKEN_CACHE:
        return None
    names, notes = dict(known["item_names"]), tuple(known["notes"])
    return SalesHistory(*pairs, rows=known["rows"], test=test, item_names=names, checksums=checksums, notes=notes)


def _store(path: Path, history: SalesHistory) -> None:
    test = history.test
    known = {
        "rows": history.rows,
        "has_test": test is not None,
        "item_names": list(history.item_names.items()),
        "notes": history.notes,
    }
    arrays = {name: getattr(history, name) for name in PairMonths._fields}
    arrays["test"] = np.array([] if test is None else [test.ids, test.shop_ids, test.item_ids], np.int32)
    arrays["known"] = np.frombuffer(json.dumps(known).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
