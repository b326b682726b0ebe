"""The class of a sequence."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell
from nlstm_jax.cells.base import fold_in_name
from nlstm_jax.models.symbols import Symbols
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray


class Classifier(nnx.Module):
    """symbols → cell → dropout → dense layer on the output after the last symbol, time-major.

    Initial values: an embedding N(0, 1/E), the dense layer Flax's (LeCun normal, zero bias), the cell its own.
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        cell: Cell,
        *,
        embedding: int | None = None,
        dropout_output: float = 0.0,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Make the model.

        Args:
            vocabulary: V, the number of symbols.
            classes: K.
            cell: any cell.
            embedding: E, the width of a symbol's vector; None: one-hot.
            dropout_output: rate on what enters the dense layer.
            over_time: `mode`, `remat` and `truncate` of `unroll`, where they are not the default.
            key: for the initial values.
        """
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
        """Logits of the classes, and the memory, after each sequence's last symbol.

        Args:
            numbers: of the symbols.
            lengths: how many of each sequence are real; of one without any the logits mean nothing.
            carry: the memory to start from.
            key: draws the noise; None: none.
        """
        cell_key = None if key is None else fold_in_name(key, "cell")
        carry, ys = self.cell(self.symbols(numbers), carry, lengths=lengths, key=cell_key)
        last = jnp.take_along_axis(ys, jnp.maximum(lengths - 1, 0)[None, :, None], axis=0)[0]
        rngs = None if key is None else fold_in_name(key, "output")
        return carry, self.head(self.dropout_output(last, deterministic=key is None, rngs=rngs))
