"""Windows of months of the sales task, and the batches that are made of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.sales_history import SalesHistory
from nlstm_jax.tasks.base import ShuffledExamples
from nlstm_jax.types import AnyArray, Array, Float, Int


class SalesBatch(NamedTuple):
    """A batch of windows of months, time-major, with the count of the month after each window.

    Attributes:
        inputs: The channel values of the months in each window.
        targets: The count of the month after each window.
    """

    inputs: Float[Array, "T B C"]
    targets: Float[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SalesWindows(ShuffledExamples):
    """A split of windows of months, each with the month after it as the target.

    Each pair has one window for each of the target months `first` … `first + months − 1`.

    Attributes:
        inputs: The channel values of each pair in each month.
        targets: The count of each pair in each month.
        window: T, the number of months in a window.
        first: The first month that is a target.
        months: The number of months that are targets.
    """

    inputs: Float[AnyArray, "P M C"]
    targets: Float[AnyArray, "P M"]
    window: int = field(metadata={"static": True})
    first: int = field(metadata={"static": True})
    months: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """The number of windows."""
        return self.inputs.shape[0] * self.months

    def gather(self, indices: Int[Array, "B"]) -> SalesBatch:
        """Return the windows with the given indices as a batch.

        Windows are numbered pair by pair, and within a pair month by month.
        """
        pairs = indices // self.months
        target_months = self.first + indices % self.months
        input_months = target_months[:, None] + jnp.arange(-self.window, 0)

        inputs = jnp.asarray(self.inputs)[pairs[:, None], input_months]
        targets = jnp.asarray(self.targets)[pairs, target_months]
        return SalesBatch(jnp.moveaxis(inputs, 1, 0), targets)


def collect_months(
    windows: SalesWindows, target_months: range, length: int
) -> tuple[Float[np.ndarray, "n T"], Float[np.ndarray, "n"]]:
    """Return the inputs and targets of all pairs in all target months.

    Args:
        windows: A split of windows.
        target_months: The target months.
        length: The number of months before a target month whose counts are its inputs.
    """
    counts = np.asarray(windows.targets, np.float64)
    inputs = np.concatenate([counts[:, month - length : month] for month in target_months])
    targets = np.concatenate([counts[:, month] for month in target_months])
    return inputs, targets


def describe_months(history: SalesHistory) -> str:
    """Return a line on the pairs and the months of a history, with the months in which nothing was sold."""
    pair_count, month_count = history.counts.shape
    without_sales = np.flatnonzero(~history.counts.any(axis=0))
    gaps = ", ".join(map(str, without_sales)) or "none"
    shops = len(np.unique(history.shop_ids))
    items = len(np.unique(history.item_ids))
    return (
        f"{pair_count:,} pairs of {shops:,} shops and {items:,} items, months 0 to {month_count - 1}; "
        f"months without a sale: {gaps}"
    )


def describe_windows(
    windows: SalesWindows, shop_ids: Int[np.ndarray, "P"], item_ids: Int[np.ndarray, "P"], count: int
) -> list[str]:
    """Return the first windows as text: the pair, the counts of the months that are read, and the target.

    Args:
        windows: The windows.
        shop_ids: The shop of each pair.
        item_ids: The item of each pair.
        count: The number of windows.
    """
    lines = []
    counts = np.asarray(windows.targets)
    for index in range(min(count, windows.size)):
        pair, offset = divmod(index, windows.months)
        month = windows.first + offset
        first = month - windows.window
        read = " ".join(f"{value:g}" for value in counts[pair, first:month])
        lines.append(
            f"shop {shop_ids[pair]}, item {item_ids[pair]}, months {first} to {month - 1}: {read} → "
            f"month {month}: {counts[pair, month]:g}"
        )
    return lines
