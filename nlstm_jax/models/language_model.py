"""A model that predicts the next symbol from the symbols before it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import MinimalCell, complete
from nlstm_jax.cells.base import fold_in_name, fold_in_name_if_key, product
from nlstm_jax.cells.initializers import check_scheme, draw_vector
from nlstm_jax.models.cross_entropy import cross_entropy
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray
from nlstm_jax.unroll import fused


class LanguageModel(nnx.Module):
    """A language model: embedding → dropout → cell → (projection) → dropout → softmax.

    Arrays are time-major. The initial values of the embedding are N(0, 1/E), those of the dense layers are Flax's
    defaults (LeCun normal, zero bias). Alternatively, all of these are uniform. The initial values of the cell follow
    its own scheme.

    >>> import jax
    >>> from nlstm_jax import LSTM
    >>> model = LanguageModel(vocabulary=6, embedding=3, cell=LSTM(4), key=jax.random.key(0))
    >>> carry, logits = model(jnp.zeros((7, 5), int))
    >>> carry.h.shape, logits.shape
    ((5, 4), (7, 5, 6))
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        cell: MinimalCell,
        *,
        outputs: int | None = None,
        projection: int | None = None,
        tied: bool = False,
        dropout_input: float = 0.0,
        dropout_output: float = 0.0,
        init_scheme: str = "default",
        dtype: DTypeLike | None = None,
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Initialize the model.

        Args:
            vocabulary: The number of symbols V.
            embedding: The width E of the vectors of the symbols.
            cell: The cell, of any kind. Dropout between the layers of a stack is an option of the stack.
            outputs: The number of symbols or classes that are predicted. None means V.
            projection: The width of a linear layer between cell and softmax. None means no such layer.
            tied: True if the softmax uses the embedding matrix as its weights. Its input must then have width E.
            dropout_input: The dropout rate of the embedded symbols.
            dropout_output: The dropout rate of the input of the softmax.
            init_scheme: The scheme of all initial values except the cell's: `default` or `uniform(RADIUS)`.
            dtype: The dtype of the factors in the products of projection and softmax, such as `jnp.bfloat16`. The
                sums are always float32.
            over_time: The options `mode`, `remat` and `truncate` of `unroll` that differ from the defaults.
            key: The random key of the initial values.

        Raises:
            ValueError: The input of a tied softmax does not have width E, or its outputs are not the V symbols, or the
                scheme is unknown.
        """
        cell = complete(cell)
        outputs = vocabulary if outputs is None else outputs
        width = cell.out_features if projection is None else projection
        if tied and width != embedding:
            raise ValueError(
                f"tied embedding: an input of the embedding's width {embedding} to the softmax expected, found "
                f"{width}; a projection to that width serves"
            )
        if tied and outputs != vocabulary:
            raise ValueError(f"tied embedding: as many outputs as symbols, {vocabulary}, expected, found {outputs}")

        def rngs(name: str) -> nnx.Rngs:
            return nnx.Rngs(params=fold_in_name(key, name))

        initializer = _uniform_initializer(init_scheme)
        embedding_options: dict[str, Any] = {}
        linear_options: dict[str, Any] = {}
        if initializer is not None:
            embedding_options = {"embedding_init": initializer}
            linear_options = {"kernel_init": initializer, "bias_init": initializer}

        self.embedding = nnx.Embed(vocabulary, embedding, rngs=rngs("embedding"), **embedding_options)
        self.cell = Recurrent(cell, embedding, time_major=True, rngs=fold_in_name(key, "cell"), **over_time or {})

        # Every attribute is assigned once, as NNX decides at the first assignment if it holds parameters.
        projection_layer: nnx.Linear | None = None
        if projection is not None:
            projection_layer = nnx.Linear(cell.out_features, projection, rngs=rngs("projection"), **linear_options)
        self.projection = projection_layer

        softmax_layer: nnx.Linear | None = None
        tied_bias: nnx.Param[Array] | None = None
        if tied:
            tied_bias = nnx.Param(jnp.zeros(vocabulary))
        else:
            softmax_layer = nnx.Linear(width, outputs, rngs=rngs("softmax"), **linear_options)
        self.softmax = softmax_layer
        self.tied_bias = tied_bias

        self.dtype = dtype
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
        """Compute the logits of the symbol after each of `tokens`.

        Args:
            tokens: The symbols, as numbers, time-major.
            carry: The carry to start from. None means the cell's initial carry.
            lengths: The number of valid tokens of each sequence. None means all.
            key: The random key of the noise. None means no noise.

        Returns:
            The last carry of the cell, and the logits.
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
        """Compute the cross-entropy of `targets`, the symbols after `tokens`, without storing all logits at once.

        Args:
            tokens: The symbols, as numbers, time-major.
            targets: The symbol after each of `tokens`.
            weights: The weights of the targets. A weight of 0 excludes a target.
            carry: The carry to start from. None means the cell's initial carry.
            lengths: The number of valid tokens of each sequence. None means all.
            key: The random key of the noise. None means no noise.

        Returns:
            The last carry of the cell; the sum of weight · nats, which can be differentiated; and the nats of every
            target, which have no gradient.
        """
        carry, ys = self._features(tokens, carry, lengths, key)
        w, b = self._softmax()
        total, nats = cross_entropy(ys, w, b, targets, weights, self.dtype)
        return carry, total, nats

    def _features(
        self, tokens: Int[Array, "T B"], carry: Carry | None, lengths: Int[Array, "B"] | None, key: PRNGKeyArray | None
    ) -> tuple[Carry, Float[Array, "T B F"]]:
        """Compute the last carry of the cell and the input of the softmax."""
        xs = self._drop(self.dropout_input, self.embedding(tokens), key, "input")
        cell_key = fold_in_name_if_key(key, "cell")
        carry, ys = self.cell(xs, carry, lengths=lengths, key=cell_key)
        if self.projection is not None:
            assert self.projection.bias is not None
            ys = self._project(ys, self.projection.kernel[...]) + self.projection.bias[...]
        return carry, self._drop(self.dropout_output, ys, key, "output")

    def _project(self, ys: Float[Array, "T B O"], w: Float[Array, "O P"]) -> Float[Array, "T B P"]:
        """Return ys W. The products of its gradient are computed in `dtype` too."""
        if self.dtype is None:
            return product(ys, w)
        return fused.hoisted(lambda w, ys: product(ys, w, self.dtype), w, ys)

    def _softmax(self) -> tuple[Float[Array, "F V"], Float[Array, "V"]]:
        """Return the weights and the bias of the softmax."""
        if self.softmax is not None:
            assert self.softmax.bias is not None
            return self.softmax.kernel[...], self.softmax.bias[...]
        assert self.tied_bias is not None
        return self.embedding.embedding[...].T, self.tied_bias[...]

    @staticmethod
    def _drop(dropout: nnx.Dropout, x: Array, key: PRNGKeyArray | None, name: str) -> Array:
        """Apply dropout with the key derived from `name`. Without a key, return `x`."""
        return dropout(x, deterministic=key is None, rngs=fold_in_name_if_key(key, name))


def _uniform_initializer(scheme: str) -> Callable[..., Array] | None:
    """Return the initializer of a uniform scheme, or None for the scheme `default`.

    Raises:
        ValueError: The scheme is neither `default` nor `uniform(RADIUS)`.
    """
    if scheme == "default":
        return None
    if not scheme.startswith("uniform("):
        raise ValueError(f"init_scheme: default or uniform(RADIUS) expected, found {scheme!r}")
    check_scheme(LanguageModel, scheme)
    return lambda key, shape, dtype, *rest: draw_vector(scheme, key, shape, 1).astype(dtype)
