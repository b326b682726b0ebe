"""The folder of Kaggle's "Predict Future Sales", or of sales in its form, as monthly counts of (shop, item) pairs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from nlstm_jax.data.csv_columns import CsvTable, file_sha256, first_rows, read_columns, repeats
from nlstm_jax.data.csv_kinds import DateColumn, DecimalColumn, IntColumn, Kind, NameColumn, TextColumn
from nlstm_jax.data.sales_cache import load_history, replace_file, store_history
from nlstm_jax.data.sales_history import (
    LARGEST_ID,
    JoinedPairs,
    SalesHistory,
    SalesRows,
    TestPairs,
    aggregate,
    find_pairs,
    join_pairs,
    pair_keys,
)
from nlstm_jax.errors import DataError
from nlstm_jax.wording import count_of

__all__ = [
    "JoinedPairs",
    "SalesHistory",
    "SalesRows",
    "TestPairs",
    "aggregate",
    "join_pairs",
    "read_sales",
    "write_submission",
]

PUBLIC_ROWS = 2_935_849
DOWNLOAD = "kaggle competitions download -c competitive-data-science-predict-future-sales"

MOST_MONTHS = 240
# The bounds keep a (shop, item, month) within one int64 and the table of months within memory.
_ID = IntColumn(0, LARGEST_ID)
_IDS = ("shop_id", "item_id")
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
_OPTIONAL = ("date_block_num", "item_price", "item_category_id", "shop_name", "item_category_name")
"""The columns that a file may lack."""
_REGISTERS = (
    ("items.csv", "item_category_id", "item_categories.csv"),
    ("test.csv", "shop_id", "shops.csv"),
    ("test.csv", "item_id", "items.csv"),
    ("sales_train.csv", "shop_id", "shops.csv"),
    ("sales_train.csv", "item_id", "items.csv"),
)
"""A file, a column of it, and the file that lists every value that the column may have."""
_CACHE_VERSION = 2


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
    history = load_history(cached, checksums)
    if history is not None:
        return history
    history = _read_folder(folder, checksums)
    try:
        store_history(cached, history)
    except OSError as error:  # A full disk costs the next run time, and does not affect this run.
        return replace(history, notes=(*history.notes, f"cache {cache} not written: {error.strerror}"))
    return history


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
    id_kinds = _choose_id_kinds(folder / "sales_train.csv")
    # sales_train.csv comes last, so that faults of the small files are reported before the large file is read.
    tables = {name: _read_file(folder / name, id_kinds) for name in reversed(checksums)}
    for name, column, register in _REGISTERS:
        both_have_it = all(column in tables[file].columns for file in (name, register) if file in tables)
        if name in tables and register in tables and both_have_it:
            tables[name].check_known(column, tables[register])
    notes = _ignored_columns(tables)
    # Text ids are numbered after all checks, so that messages have them as they are in the files.
    if "test.csv" in tables:
        tables["test.csv"].check_unique("ID")
        tables["test.csv"].check_unique(*_IDS)
    if "items.csv" in tables:
        tables["items.csv"].check_unique("item_id")

    text_ids = {column: _number_text_ids(tables, column) for column in _IDS if column in id_kinds}
    item_names = _item_names(tables["items.csv"]) if "items.csv" in tables else {}
    test = _test_pairs(tables["test.csv"]) if "test.csv" in tables else None
    has_prices = "item_price" in tables["sales_train.csv"].columns
    rows = _sales_rows(tables["sales_train.csv"])
    tables.clear()

    notes += _notes_on_rows(rows, has_prices)
    pairs = aggregate(rows)
    history = SalesHistory(
        *pairs,
        rows=len(rows.months),
        test=test,
        item_names=item_names,
        checksums=checksums,
        has_prices=has_prices,
        text_item_ids=text_ids.get("item_id", ()),
    )
    if test is not None:
        _, has_history = find_pairs(history, test.shop_ids, test.item_ids)
        notes.append(f"test.csv: {has_history.sum():,} of {len(test.ids):,} pairs have a history")
    return replace(history, notes=tuple(notes))


def _choose_id_kinds(path: Path) -> dict[str, Kind]:
    """Return the kind of the ids that are text: those whose first value is no number of the accepted range."""
    header, *rows = first_rows(path, 2)
    if not rows or len(rows[0]) != len(header):
        return {}
    first = dict(zip(header, rows[0], strict=True))
    kinds: dict[str, Kind] = {}
    for column in _IDS:
        value = first.get(column, "0")
        is_number = value.removesuffix(".0").isdecimal() and float(value) <= LARGEST_ID
        if not is_number:
            kinds[column] = NameColumn()
    return kinds


def _read_file(path: Path, id_kinds: Mapping[str, Kind]) -> CsvTable:
    """Read the required columns of a file, and the optional ones that it has."""
    kinds = _FILES[path.name]
    (header,) = first_rows(path, 1)
    present = {name: kind for name, kind in kinds.items() if name not in _OPTIONAL or name in header}
    return read_columns(path, {name: id_kinds.get(name, kind) for name, kind in present.items()})


def _number_text_ids(tables: Mapping[str, CsvTable], column: str) -> tuple[str, ...]:
    """Replace the text ids of a column by their numbers, in all tables, and return the ids in alphabetical order."""
    holders = [table for table in tables.values() if column in table.columns]
    ids = np.unique(np.concatenate([table.columns[column] for table in holders]).astype(str))
    for table in holders:
        table.columns[column] = np.searchsorted(ids, table.columns[column].astype(str)).astype(np.int32)
    return tuple(ids.tolist())


def _ignored_columns(tables: Mapping[str, CsvTable]) -> list[str]:
    """Return a note on each file that has columns which are not used."""
    return [f"{name}: columns not used: {', '.join(table.ignored)}" for name, table in tables.items() if table.ignored]


def _item_names(table: CsvTable) -> dict[int, str]:
    """Return the name of each item by its id."""
    return dict(zip(table.columns["item_id"].tolist(), table.columns["item_name"].tolist(), strict=True))


def _test_pairs(table: CsvTable) -> TestPairs:
    """Return the pairs to forecast."""
    return TestPairs(table.columns["ID"], table.columns["shop_id"], table.columns["item_id"])


def _sales_rows(table: CsvTable) -> SalesRows:
    """Return the rows of sales_train.csv. Without a column item_price, all prices are 0.

    Raises:
        DataError: The dates span too many months, or a row's date_block_num is not that of its date.
    """
    dates = table.columns["date"]
    months = dates.astype("datetime64[M]")
    first_month = months.min()
    months_after_first = (months - first_month).astype(np.int64)
    if months_after_first.max() >= MOST_MONTHS:
        # Of the two ends, the one that is further from most of the rows is the wrong one.
        distance = np.abs(months_after_first - np.median(months_after_first))
        row = int(distance.argmax())
        raise table.error(row, "date", dates[row], f"days within {MOST_MONTHS} months")
    if "date_block_num" in table.columns:
        _check_block_numbers(table, months)

    rows = len(dates)
    return SalesRows(
        dates=dates,
        months=months_after_first.astype(np.int32),
        shop_ids=table.columns["shop_id"],
        item_ids=table.columns["item_id"],
        prices=table.columns.get("item_price", np.zeros(rows)),
        counts=table.columns["item_cnt_day"],
    )


def _check_block_numbers(table: CsvTable, months: np.ndarray) -> None:
    """Raise a DataError if a row's date_block_num is not that of its date. Most rows decide which month is block 0."""
    blocks = table.columns["date_block_num"]
    first_blocks = months.astype(np.int64) - blocks
    first_block = int(np.median(first_blocks))
    is_wrong = first_blocks != first_block
    if is_wrong.any():
        row = int(is_wrong.argmax())
        expected = int(months[row].astype(np.int64)) - first_block
        origin = np.datetime64(first_block, "M")
        accepted = f"{expected}, the month of its date {table.columns['date'][row]} (0 is {origin})"
        raise table.error(row, "date_block_num", blocks[row], accepted)


def _notes_on_rows(rows: SalesRows, has_prices: bool) -> list[str]:
    """Return notes for the log on unusual rows. Such rows are neither repaired nor left out."""
    notes = []
    if len(rows.months) != PUBLIC_ROWS:
        notes.append(
            f"sales_train.csv: {count_of(len(rows.months), 'row')}; the complete public file has {PUBLIC_ROWS:,}"
        )
    notes.append(_note_on_months(rows))
    keys = pair_keys(rows.shop_ids, rows.item_ids) * 10_000
    keys += (rows.dates - rows.dates.min()).astype(np.int64)
    repeated = len(repeats([keys, rows.prices, rows.counts]))
    if repeated:
        notes.append(f"sales_train.csv: {repeated:,} rows repeat another one exactly; each counts")
    negative = int((rows.prices < 0).sum())
    if negative:
        notes.append(f"sales_train.csv: {count_of(negative, 'row')} with a price below zero, not in any mean price")
    low = rows.counts.min()
    high = rows.counts.max()
    prices = f"item_price up to {rows.prices.max():,.2f}" if has_prices else "no column item_price"
    notes.append(f"sales_train.csv: item_cnt_day from {low} to {high:,}, {prices}")
    return notes


def _note_on_months(rows: SalesRows) -> str:
    """Return a note on the first and the last month, and on the months between them that have no row."""
    first, last = rows.dates.min(), rows.dates.max()
    note = f"sales_train.csv: months {first.astype('datetime64[M]')} to {last.astype('datetime64[M]')}"
    missing = int(rows.months.max()) + 1 - len(np.unique(rows.months))
    if missing:
        note += f", {missing} of them without a row, which count as months without sales"
    return note


def write_submission(
    path: Path,
    ids: Int[np.ndarray, " n"],
    predictions: Float[np.ndarray, "..."],
    bounds: tuple[float, float] = (0.0, 20.0),
) -> None:
    """Write `ID,item_cnt_month` with predictions clipped to `bounds`. The file is written completely or not at all.

    Raises:
        ValueError: The number of predictions differs from that of the IDs, or a prediction is not a number.
    """
    ids = np.asarray(ids)
    predictions = np.asarray(predictions, np.float64)
    if ids.shape != predictions.shape or ids.ndim != 1:
        raise ValueError(f"predictions of shape {predictions.shape} found, one for each of {ids.shape} IDs accepted")
    if np.isnan(predictions).any():
        raise ValueError(f"prediction for ID {ids[np.isnan(predictions).argmax()]}: nan found, a number accepted")
    clipped = np.clip(predictions, *bounds)
    lines = [f"{row_id},{value:.6f}\n" for row_id, value in zip(ids.tolist(), clipped.tolist(), strict=True)]
    with replace_file(Path(path)) as file:
        file.write(("ID,item_cnt_month\n" + "".join(lines)).encode())
