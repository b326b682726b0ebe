"""A model that assigns a class to a sequence of symbols."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import MinimalCell, complete
from nlstm_jax.cells.base import fold_in_name, fold_in_name_if_key
from nlstm_jax.models.symbols import Symbols
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray


class Classifier(nnx.Module):
    """A sequence classifier: symbols → cell → dropout → dense layer on the output after the last symbol.

    Arrays are time-major. The initial values of an embedding are N(0, 1/E), those of the dense layer are Flax's
    defaults (LeCun normal, zero bias), and those of the cell follow its own scheme.

    >>> import jax
    >>> from nlstm_jax import LSTM
    >>> model = Classifier(vocabulary=3, classes=2, cell=LSTM(4), key=jax.random.key(0))
    >>> carry, logits = model(jnp.zeros((7, 5), int), lengths=jnp.full(5, 7))
    >>> carry.h.shape, logits.shape
    ((5, 4), (5, 2))
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        cell: MinimalCell,
        *,
        embedding: int | None = None,
        dropout_output: float = 0.0,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Initialize the model.

        Args:
            vocabulary: The number of symbols V.
            classes: The number of classes K.
            cell: The cell, of any kind.
            embedding: The width E of the vectors of the symbols. None means one-hot vectors.
            dropout_output: The dropout rate of the input of the dense layer.
            over_time: The options `mode`, `remat` and `truncate` of `unroll` that differ from the defaults.
            key: The random key of the initial values.
        """
        cell = complete(cell)
        self.symbols = Symbols(vocabulary, embedding, key=fold_in_name(key, "symbols"))
        options: dict[str, Any] = {"time_major": True, **(over_time or {})}
        self.cell = Recurrent(cell, self.symbols.width, rngs=fold_in_name(key, "cell"), **options)
        self.dropout_output = nnx.Dropout(dropout_output)
        self.head = nnx.Linear(cell.out_features, classes, rngs=nnx.Rngs(params=fold_in_name(key, "head")))

    def __call__(
        self,
        numbers: Int[Array, "T B"],
        lengths: Int[Array, "B"],
        carry: Carry | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Carry, Float[Array, "B K"]]:
        """Compute the logits of the classes after the last symbol of each sequence.

        Args:
            numbers: The symbols, as numbers.
            lengths: The number of valid symbols of each sequence. The logits of an empty sequence are meaningless.
            carry: The carry to start from. None means the cell's initial carry.
            key: The random key of the noise. None means no noise.

        Returns:
            The carry after the last symbol of each sequence, and the logits.
        """
        cell_key = fold_in_name_if_key(key, "cell")
        carry, ys = self.cell(self.symbols(numbers), carry, lengths=lengths, key=cell_key)

        last_index = jnp.maximum(lengths - 1, 0)
        last_output = jnp.take_along_axis(ys, last_index[None, :, None], axis=0)[0]
        output_key = fold_in_name_if_key(key, "output")
        last_output = self.dropout_output(last_output, deterministic=key is None, rngs=output_key)
        return carry, self.head(last_output)
