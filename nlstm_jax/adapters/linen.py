"""A cell of ours inside Flax Linen's `nn.RNN` and `nn.Bidirectional`."""

from typing import Any

from flax import linen

from nlstm_jax.adapters.nnx import check_deterministic
from nlstm_jax.cells import Cell
from nlstm_jax.types import Array, Carry, Float


class RNNCell(linen.RNNCellBase):
    """`adapters.nnx.RNNCell` for Linen, with the same differences to `unroll`.

    >>> import jax, jax.numpy as jnp
    >>> from nlstm_jax.cells import nested_lstm
    >>> layer = linen.RNN(RNNCell(nested_lstm(4, depth=2)))
    >>> ys, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> ys.shape
    (2, 5, 4)
    """

    cell: Cell
    deterministic: bool = False

    @linen.compact
    def __call__(self, carry: Carry, inputs: Float[Array, "*b D"]) -> tuple[Carry, Float[Array, "*b O"]]:
        """One step."""
        check_deterministic(self.cell, inputs.shape[-1], self.deterministic)
        params = self.param("cell", self.cell.init, inputs.shape[-1])
        return self.cell.step(params, carry, self.cell.project(params, inputs))

    @linen.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Carry:
        """The cell's initial carry for inputs of this shape [*b, D]."""
        return self.cell.initial_carry(input_shape[:-1])

    @property
    def num_feature_axes(self) -> int:
        """One."""
        return 1
