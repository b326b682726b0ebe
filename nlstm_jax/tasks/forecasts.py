"""Forecasts of a trained sales model for the month after the data, and the ranking of items by them."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nlstm_jax.tasks.base import eval_batches
from nlstm_jax.tasks.sales import LARGEST, SalesTask
from nlstm_jax.types import Array, Float, Int

_BATCH = 4096
"""The number of pairs in a batch."""


class RankedItem(NamedTuple):
    """An item with its expected sales.

    Attributes:
        item_id: The ID of the item.
        name: The name of the item; empty if it is unknown.
        expected: The expected count, summed over all shops that `test.csv` has with this item.
    """

    item_id: int
    name: str
    expected: float


def forecast(task: SalesTask, model: Any) -> Float[np.ndarray, "n"]:
    """Return the expected count of every pair, in the order of `test.csv`, clipped to [0, 20].

    All pairs without a history get the same value: the forecast for months without sales.

    Args:
        task: The task, with the data.
        model: The trained model.

    Raises:
        DataError: The data have no `test.csv`.
    """
    queries, has_history = task.queries()

    @jax.jit
    def expected(indices: Int[Array, "B"]) -> Float[Array, "B"]:
        return task.likelihood.mean(model(queries.gather(indices).inputs))

    indices, weights = eval_batches(queries.size, _BATCH)
    padded_means = np.concatenate([np.asarray(expected(batch)) for batch in indices])
    mask = weights.reshape(-1) > 0
    means = padded_means[mask]

    without_history = np.flatnonzero(~has_history)
    if without_history.size:
        # Equal inputs at different positions of a batch may give results that differ in the last bit.
        means[without_history] = means[without_history[0]]
    return np.clip(means, 0, LARGEST)


def rank_items(task: SalesTask, predictions: Float[np.ndarray, "n"]) -> list[RankedItem]:
    """Rank the items by their expected sales over all shops, in descending order.

    Args:
        task: The task, whose data have a `test.csv`.
        predictions: The expected count of every pair, in the order of `test.csv`.

    Raises:
        DataError: The data have no `test.csv`.
    """
    item_ids, inverse = np.unique(task.test_pairs.item_ids, return_inverse=True)
    totals = np.bincount(inverse, weights=predictions)
    names = task.history.item_names
    order = np.argsort(-totals, kind="stable")

    ranking = []
    for index in order:
        item_id = int(item_ids[index])
        ranking.append(RankedItem(item_id, names.get(item_id, ""), float(totals[index])))
    return ranking


def write_ranking(path: Path, ranking: list[RankedItem]) -> None:
    """Write the ranking as a CSV file with the columns `rank,item_id,item_name,expected_sales`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "item_id", "item_name", "expected_sales"])
        for rank, item in enumerate(ranking, start=1):
            writer.writerow([rank, item.item_id, item.name, f"{item.expected:.4f}"])
