"""Windows of days of the stocks task, the batches that are made of them, and a remark on missing days."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.tasks.base import ShuffledExamples
from nlstm_jax.types import AnyArray, Array, Float, Int


class StockBatch(NamedTuple):
    """A batch of windows of days, time-major, with the change of the close after each window.

    Attributes:
        inputs: The channel values of the days in each window.
        targets: The change of the close, in units of `StocksTask.unit`.
    """

    inputs: Float[Array, "T B C"]
    targets: Float[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PriceWindows(ShuffledExamples):
    """A split of windows of one price series, in chronological order.

    Attributes:
        inputs: The channel values of each day.
        targets: The target of each window.
        ends: The last day in each window.
        window: T, the number of days in a window.
    """

    inputs: Float[AnyArray, "N C"]
    targets: Float[AnyArray, "n"]
    ends: Int[AnyArray, "n"]
    window: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """The number of windows."""
        return self.targets.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> StockBatch:
        """Return the windows with the given indices as a batch."""
        days = jnp.asarray(self.ends)[indices] + jnp.arange(1 - self.window, 1)[:, None]
        return StockBatch(jnp.asarray(self.inputs)[days], jnp.asarray(self.targets)[indices])


def describe_gaps(dates: np.ndarray, largest_gap: int) -> str:
    """Return a line on the number of gaps, and on the longest time between two rows.

    Args:
        dates: The days, ascending, datetime64[D] [N].
        largest_gap: The number of days without a row beyond which nothing is read or forecast across.
    """
    steps = np.diff(dates).astype(int)
    longest = int(steps.argmax())
    count = int((steps > largest_gap).sum())
    return (
        f"gaps of more than {largest_gap} days: {count:,}; the longest time between two rows is "
        f"{steps[longest]:,} days from {dates[longest]}"
    )
