"""A model that forecasts the next month from the months before it."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import MinimalCell, complete
from nlstm_jax.cells.base import fold_in_name, fold_in_name_if_key
from nlstm_jax.types import Array, Float, PRNGKeyArray


class Forecaster(nnx.Module):
    """A forecaster: cell → dropout → dense head on the last output.

    Arrays are time-major. The initial values of the head are glorot uniform with a zero bias (as in Keras' `Dense`),
    and those of the cell follow its own scheme.

    >>> from nlstm_jax import nested_lstm
    >>> model = Forecaster(channels=1, cell=nested_lstm(features=4, depth=2), key=jax.random.key(0))
    >>> model(jax.numpy.ones((24, 5, 1))).shape
    (5, 1)
    """

    def __init__(
        self,
        channels: int,
        cell: MinimalCell,
        *,
        outputs: int = 1,
        dropout_output: float = 0.0,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Initialize the model.

        Args:
            channels: The number of inputs per month C.
            cell: The cell, of any kind.
            outputs: The number of outputs of the head: 1 for a mean, 2 for a mean and a spread.
            dropout_output: The dropout rate of the last output.
            over_time: The options `mode`, `remat` and `truncate` of `unroll` that differ from the defaults.
            key: The random key of the initial values.
        """
        cell = complete(cell)
        self.cell = Recurrent(cell, channels, time_major=True, rngs=fold_in_name(key, "cell"), **over_time or {})
        self.dropout_output = nnx.Dropout(dropout_output)
        self.head = nnx.Linear(
            cell.out_features,
            outputs,
            kernel_init=jax.nn.initializers.glorot_uniform(),
            rngs=nnx.Rngs(params=fold_in_name(key, "head")),
        )

    def __call__(self, xs: Float[Array, "T B C"], *, key: PRNGKeyArray | None = None) -> Float[Array, "B outputs"]:
        """Compute the outputs of the head after the last month. Without a `key` there is no noise."""
        cell_key = fold_in_name_if_key(key, "cell")
        _, ys = self.cell(xs, key=cell_key)

        output_key = fold_in_name_if_key(key, "output")
        last_output = self.dropout_output(ys[-1], deterministic=key is None, rngs=output_key)
        return self.head(last_output)
