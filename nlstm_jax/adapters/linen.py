"""A cell of this library inside Flax Linen's `nn.RNN` and `nn.Bidirectional`."""

from typing import Any

from flax import linen

from nlstm_jax.adapters.nnx import check_deterministic
from nlstm_jax.cells import MinimalCell, complete
from nlstm_jax.types import Array, Carry, Float


class RNNCell(linen.RNNCellBase):
    """A cell of this library as a Linen cell; the counterpart of `adapters.nnx.RNNCell`.

    The results differ from those of `unroll` in the same ways as with `adapters.nnx.RNNCell`.

    Attributes:
        cell: The cell's specification.
        deterministic: True if the cell draws no noise, which a cell with noise requires here.

    >>> import jax, jax.numpy as jnp
    >>> from nlstm_jax.cells import nested_lstm
    >>> layer = linen.RNN(RNNCell(nested_lstm(4, depth=2)))
    >>> ys, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 3)))
    >>> ys.shape
    (2, 5, 4)
    """

    cell: MinimalCell
    deterministic: bool = False

    @linen.compact
    def __call__(self, carry: Carry, inputs: Float[Array, "*b D"]) -> tuple[Carry, Float[Array, "*b O"]]:
        """Run one step, and return the carry after it and the output.

        Raises:
            ValueError: The cell draws noise, and `deterministic` is False.
        """
        in_features = inputs.shape[-1]
        cell = complete(self.cell)
        check_deterministic(cell, in_features, self.deterministic)
        params = self.param("cell", cell.init, in_features)
        return cell.step(params, carry, cell.project(params, inputs))

    @linen.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Carry:
        """Return the cell's initial carry.

        Args:
            rng: Ignored, as the initial carry is not random.
            input_shape: The shape of the inputs, `[*b, D]`.
        """
        return self.cell.initial_carry(input_shape[:-1])

    @property
    def num_feature_axes(self) -> int:
        """The number of feature axes of an input, which is 1."""
        return 1
