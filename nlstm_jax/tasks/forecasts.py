"""What a trained forecaster expects of the month after the data."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nlstm_jax.tasks.base import eval_batches
from nlstm_jax.tasks.sales import LARGEST, SalesTask
from nlstm_jax.types import Array, Float, Int

_BATCH = 4096


class RankedItem(NamedTuple):
    """An item, and how many are expected to be sold in all shops asked for together."""

    item_id: int
    name: str
    expected: float


def forecast(task: SalesTask, model: Any) -> Float[np.ndarray, "n"]:
    """The expected count of every pair in `test.csv`'s order, in [0, 20].

    Pairs without history get one value, the forecast for months without sales.

    Raises:
        DataError: the data have no `test.csv`.
    """
    questions, has_history = task.questions()

    @jax.jit
    def expected(indices: Int[Array, "B"]) -> Float[Array, "B"]:
        return task.likelihood.mean(model(questions.gather(indices).inputs))

    indices, real = eval_batches(questions.size, _BATCH)
    means = np.concatenate([np.asarray(expected(batch)) for batch in indices])[real.reshape(-1) > 0]
    strangers = np.flatnonzero(~has_history)
    if strangers.size:
        # The same inputs at different places of a batch may differ in the last bit.
        means[strangers] = means[strangers[0]]
    return np.clip(means, 0, LARGEST)


def rank_items(task: SalesTask, predictions: Float[np.ndarray, "n"]) -> list[RankedItem]:
    """Items by expected sales over all their shops, the most first."""
    items, inverse = np.unique(task.test_pairs.item_ids, return_inverse=True)
    totals = np.bincount(inverse, weights=predictions)
    names = task.history.item_names
    order = np.argsort(-totals, kind="stable")
    return [RankedItem(int(items[n]), names.get(int(items[n]), ""), float(totals[n])) for n in order]


def write_ranking(path: Path, ranking: list[RankedItem]) -> None:
    """Write `rank,item_id,item_name,expected_sales`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "item_id", "item_name", "expected_sales"])
        for rank, item in enumerate(ranking, start=1):
            writer.writerow([rank, item.item_id, item.name, f"{item.expected:.4f}"])
