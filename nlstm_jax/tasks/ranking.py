"""The ranking of items by their expected sales."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from nlstm_jax.types import Float, Int

_MAX_SHOWN = 10
"""The number of items that the printed ranking has at most."""


class RankedItem(NamedTuple):
    """An item with its expected sales.

    Attributes:
        item_id: The ID of the item, as in the files.
        name: The name of the item; empty if it is unknown.
        expected: The expected count, summed over all shops that `test.csv` has with this item.
    """

    item_id: int | str
    name: str
    expected: float


def rank_items(
    item_ids: Int[np.ndarray, "n"],
    names: Mapping[int, str],
    predictions: Float[np.ndarray, "n"],
    text_ids: Sequence[str] = (),
) -> list[RankedItem]:
    """Rank the items by their expected sales over all shops, in descending order.

    Args:
        item_ids: The item of every pair.
        names: The names of the items, by ID.
        predictions: The expected count of every pair.
        text_ids: The ids that the files have, by ID, if those are text.
    """
    unique_ids, inverse = np.unique(item_ids, return_inverse=True)
    totals = np.bincount(inverse, weights=predictions)
    order = np.argsort(-totals, kind="stable")

    ranking = []
    for index in order:
        item_id = int(unique_ids[index])
        shown_id = text_ids[item_id] if text_ids else item_id
        ranking.append(RankedItem(shown_id, names.get(item_id, ""), float(totals[index])))
    return ranking


def ranking_table(ranking: list[RankedItem]) -> Table:
    """Return a table of the first items of the ranking."""
    table = Table("rank", "item", "name", "expected sales")
    for rank, item in enumerate(ranking[:_MAX_SHOWN], start=1):
        table.add_row(str(rank), str(item.item_id), item.name, f"{item.expected:.1f}")
    return table


def write_ranking(path: Path, ranking: list[RankedItem]) -> None:
    """Write the ranking as a CSV file with the columns `rank,item_id,item_name,expected_sales`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "item_id", "item_name", "expected_sales"])
        for rank, item in enumerate(ranking, start=1):
            writer.writerow([rank, item.item_id, item.name, f"{item.expected:.4f}"])
