"""The monthly sales of (shop, item) pairs: one row per pair and one column per month.

Dimension letters: P pairs, M months (month 0 is the first month with data), n rows of any table.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32

LARGEST_ID = 9_999_999
"""The largest number of a shop or an item. It keeps a (shop, item, month) within one int64."""
_ITEM_SPAN = LARGEST_ID + 1


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
        has_prices: False if sales_train.csv has no column item_price. All prices are 0 then.
        text_item_ids: The ids of the items by their numbers, if the files have text for ids. Otherwise empty.
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
    has_prices: bool = True
    text_item_ids: tuple[str, ...] = ()


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
    cells, cell_of_row = np.unique(pair_keys(rows.shop_ids, rows.item_ids) * length + rows.months, return_inverse=True)
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
    rows, has_history = find_pairs(history, shop_ids, item_ids)
    counts = history.counts[rows]
    prices = history.prices[rows]
    counts[~has_history] = 0
    prices[~has_history] = 0
    return JoinedPairs(counts, prices, has_history)


def find_pairs(
    history: SalesHistory, shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return the row of each pair in the history, and True for each pair that is there. Other rows have no meaning."""
    known_keys = pair_keys(history.shop_ids, history.item_ids)
    keys = pair_keys(shop_ids, item_ids)
    rows = np.minimum(np.searchsorted(known_keys, keys), len(known_keys) - 1)
    return rows, known_keys[rows] == keys


def pair_keys(shop_ids: Int[np.ndarray, " n"], item_ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return one int64 per pair, which sorts by shop and then by item."""
    return shop_ids.astype(np.int64) * _ITEM_SPAN + item_ids
