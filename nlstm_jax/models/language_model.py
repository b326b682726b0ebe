"""The next symbol from those before it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell
from nlstm_jax.cells.base import fold_in_name, product
from nlstm_jax.cells.initializers import check_scheme, draw_vector
from nlstm_jax.models.cross_entropy import cross_entropy
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray
from nlstm_jax.unroll import fused


class LanguageModel(nnx.Module):
    """embedding → dropout → cell → (projection) → dropout → softmax, time-major.

    Initial values: embedding N(0, 1/E), dense layers Flax's (LeCun normal, zero bias), or all of these uniform; the
    cell its own.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        cell: Cell,
        *,
        projection: int | None = None,
        tied: bool = False,
        dropout_input: float = 0.0,
        dropout_output: float = 0.0,
        init_scheme: str = "default",
        dtype: Any = None,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Make the model.

        Args:
            vocabulary: V, the number of symbols.
            embedding: E, the width of a symbol's vector.
            cell: any cell; dropout between the layers of a stack is the stack's own.
            projection: width of a linear layer between cell and softmax; None: none.
            tied: the softmax uses the embedding's vectors; what enters it must then have width E.
            dropout_input: rate on the embedded symbols.
            dropout_output: rate on what enters the softmax.
            init_scheme: of all parameters but the cell's, `default` or `uniform(RADIUS)`.
            over_time: `mode`, `remat` and `truncate` of `unroll`, where they are not the default.
            dtype: of the projection's and the softmax' products, e.g. `jnp.bfloat16`; their sums stay float32.
            key: for the initial values.

        Raises:
            ValueError: `tied`, and what enters the softmax is not E wide; an unknown scheme.
        """
        width = cell.out_features if projection is None else projection
        if tied and width != embedding:
            raise ValueError(
                f"tied embedding: an input of the embedding's width {embedding} to the softmax expected, found "
                f"{width}; a projection to that width serves"
            )

        def rngs(name: str) -> nnx.Rngs:
            return nnx.Rngs(params=fold_in_name(key, name))

        draw = _uniform(init_scheme)
        dense: dict[str, Any] = {} if draw is None else {"kernel_init": draw, "bias_init": draw}
        embedded: dict[str, Any] = {} if draw is None else {"embedding_init": draw}
        self.embedding = nnx.Embed(vocabulary, embedding, rngs=rngs("embedding"), **embedded)
        self.cell = Recurrent(cell, embedding, time_major=True, rngs=fold_in_name(key, "cell"), **over_time or {})
        self.projection = (
            None if projection is None else nnx.Linear(cell.out_features, projection, rngs=rngs("projection"), **dense)
        )
        self.dtype = dtype
        self.softmax = None if tied else nnx.Linear(width, vocabulary, rngs=rngs("softmax"), **dense)
        self.tied_bias = nnx.Param(jax.numpy.zeros(vocabulary)) if tied else None
        self.dropout_input = nnx.Dropout(dropout_input)
        self.dropout_output = nnx.Dropout(dropout_output)

    def __call__(
        self,
        tokens: Int[Array, "T B"],
        carry: Carry | None = None,
        *,
        lengths: Int[Array, "B"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Carry, Float[Array, "T B V"]]:
        """Logits of the symbol after each of `tokens`.

        Args:
            tokens: symbols, time-major.
            carry: the cell's memory to start from.
            lengths: how many tokens of each sequence are real.
            key: draws the dropout; None: none.

        Returns:
            The cell's last carry, and the logits.
        """
        carry, ys = self._features(tokens, carry, lengths, key)
        w, b = self._softmax()
        return carry, product(ys, w, self.dtype) + b

    def log_loss(
        self,
        tokens: Int[Array, "T B"],
        targets: Int[Array, "T B"],
        weights: Float[Array, "T B"],
        carry: Carry | None = None,
        *,
        lengths: Int[Array, "B"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> tuple[Carry, Float[Array, ""], Float[Array, "T B"]]:
        """The cross-entropy of `targets`, each the symbol after one of `tokens`; never all logits at once.

        Args:
            tokens, carry, lengths, key: as when it is called.
            targets: the symbols that come.
            weights: of the targets; 0 leaves one out.

        Returns:
            The cell's last carry; Σ weight · nats, to be differentiated; the nats of every target, constants.
        """
        carry, ys = self._features(tokens, carry, lengths, key)
        return carry, *cross_entropy(ys, *self._softmax(), targets, weights, self.dtype)

    def _features(
        self, tokens: Int[Array, "T B"], carry: Carry | None, lengths: Int[Array, "B"] | None, key: PRNGKeyArray | None
    ) -> tuple[Carry, Float[Array, "T B F"]]:
        """What enters the softmax."""
        xs = self._drop(self.dropout_input, self.embedding(tokens), key)
        cell_key = None if key is None else fold_in_name(key, "cell")
        carry, ys = self.cell(xs, carry, lengths=lengths, key=cell_key)
        if self.projection is not None:
            assert self.projection.bias is not None
            ys = self._project(ys, self.projection.kernel[...]) + self.projection.bias[...]
        return carry, self._drop(self.dropout_output, ys, key, "output")

    def _project(self, ys: Float[Array, "T B O"], w: Float[Array, "O P"]) -> Float[Array, "T B P"]:
        """ys W, whose gradient's products are in `dtype` too."""
        if self.dtype is None:
            return product(ys, w)
        return fused.hoisted(lambda w, ys: product(ys, w, self.dtype), w, ys)

    def _softmax(self) -> tuple[Float[Array, "F V"], Float[Array, "V"]]:
        if self.softmax is not None:
            assert self.softmax.bias is not None
            return self.softmax.kernel[...], self.softmax.bias[...]
        assert self.tied_bias is not None
        return self.embedding.embedding[...].T, self.tied_bias[...]

    @staticmethod
    def _drop(dropout: nnx.Dropout, x: Array, key: PRNGKeyArray | None, name: str = "input") -> Array:
        return dropout(x, deterministic=key is None, rngs=None if key is None else fold_in_name(key, name))


def _uniform(scheme: str) -> Callable[..., Array] | None:
    """What draws all of a layer's parameters, or None for the layers' own ways."""
    if scheme == "default":
        return None
    if not scheme.startswith("uniform("):
        raise ValueError(f"init_scheme: default or uniform(RADIUS) expected, found {scheme!r}")
    check_scheme(LanguageModel, scheme)
    return lambda key, shape, dtype, *rest: draw_vector(scheme, key, shape, 1).astype(dtype)
