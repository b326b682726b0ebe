"""A cell with its parameters, as a Flax NNX module."""

from typing import Any

import jax
from flax import nnx

from nlstm_jax.cells import Cell
from nlstm_jax.types import Array, Carry, Float, Params, PRNGKeyArray
from nlstm_jax.unroll import unroll


class Recurrent(nnx.Module):
    """A cell over time, time-major.

    Attributes:
        cell: the specification.
        params: the cell's NamedTuple with an `nnx.Param` at every leaf, so that Flax sees, saves and names them.

    >>> from nlstm_jax.cells import LSTM
    >>> layer = Recurrent(LSTM(4), in_features=3, key=jax.random.key(0))
    >>> carry, ys = layer(jax.numpy.ones((5, 2, 3)))
    >>> ys.shape
    (5, 2, 4)
    """

    def __init__(self, cell: Cell, in_features: int, *, key: PRNGKeyArray) -> None:
        self.cell = cell
        self.params = nnx.data(jax.tree.map(nnx.Param, cell.init(key, in_features)))

    @property
    def values(self) -> Params:
        """The parameters as the cell knows them: plain arrays."""
        return jax.tree.map(lambda leaf: leaf[...], self.params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))

    def __call__(
        self, xs: Float[Array, "T B D"], carry: Carry | None = None, **options: Any
    ) -> tuple[Carry, Float[Array, "T B O"]]:
        """`unroll(cell, params, xs, carry, **options)`."""
        return unroll(self.cell, self.values, xs, carry, **options)
