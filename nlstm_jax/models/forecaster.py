"""What comes next month, from the months before."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell
from nlstm_jax.cells.base import fold_in_name
from nlstm_jax.types import Array, Float, PRNGKeyArray


class Forecaster(nnx.Module):
    """cell → dropout → dense head on the last output, time-major.

    Initial values: the head glorot uniform with a zero bias (Keras' `Dense`), the cell its own.
    """

    def __init__(
        self,
        channels: int,
        cell: Cell,
        *,
        outputs: int = 1,
        dropout_output: float = 0.0,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Make the model.

        Args:
            channels: C, inputs a month.
            cell: any cell.
            outputs: what the head says: 1 for a mean, 2 for a mean and a spread.
            dropout_output: rate on the last output.
            over_time: `mode`, `remat` and `truncate` of `unroll`, where they are not the default.
            key: for the initial values.
        """
        self.cell = Recurrent(cell, channels, time_major=True, rngs=fold_in_name(key, "cell"), **over_time or {})
        self.dropout_output = nnx.Dropout(dropout_output)
        self.head = nnx.Linear(
            cell.out_features,
            outputs,
            kernel_init=jax.nn.initializers.glorot_uniform(),
            rngs=nnx.Rngs(params=fold_in_name(key, "head")),
        )

    def __call__(self, xs: Float[Array, "T B C"], *, key: PRNGKeyArray | None = None) -> Float[Array, "B outputs"]:
        """The head's outputs after the last month; `key` draws the dropout, None: none."""
        cell_key = None if key is None else fold_in_name(key, "cell")
        _, ys = self.cell(xs, key=cell_key)
        last = self.dropout_output(
            ys[-1], deterministic=key is None, rngs=None if key is None else fold_in_name(key, "output")
        )
        return self.head(last)
