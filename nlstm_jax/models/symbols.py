"""A module that maps symbols to vectors: one-hot vectors, or the rows of a learned table."""

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.types import AnyArray, Array, Float, Int, PRNGKeyArray


class Symbols(nnx.Module):
    """A map of the number n to the n-th unit vector, or to the n-th row of an embedding.

    A negative number is mapped to zeros.

    Attributes:
        vocabulary: The number of symbols V.
        width: The width of the vectors: E, or V for one-hot vectors.
    """

    def __init__(self, vocabulary: int, embedding: int | None, *, key: PRNGKeyArray) -> None:
        """Draw the embedding, unless the vectors are one-hot.

        Args:
            vocabulary: The number of symbols V.
            embedding: The width E of the vectors. None means one-hot vectors.
            key: The random key of the initial values, which are N(0, 1/E).
        """
        self.vocabulary = vocabulary
        self.width = vocabulary if embedding is None else embedding

        table: nnx.Embed | None = None
        if embedding is not None:
            table = nnx.Embed(vocabulary, embedding, rngs=nnx.Rngs(params=key))
        self.embedding = table

    def __call__(self, numbers: Int[Array, "*b"]) -> Float[Array, "*b E"]:
        """Return the vectors of the symbols."""
        if self.embedding is None:
            return jax.nn.one_hot(numbers, self.vocabulary)
        is_symbol = numbers >= 0
        return self.embedding(jnp.maximum(numbers, 0)) * is_symbol[..., None]

    def load(self, vectors: Float[AnyArray, "N W"]) -> None:
        """Replace the vectors by others, such as pretrained ones.

        Raises:
            ValueError: The vectors have the wrong shape, or the symbols are one-hot.
        """
        expected = None if self.embedding is None else (self.vocabulary, self.width)
        if self.embedding is None or vectors.shape != expected:
            raise ValueError(f"vectors of the shape {expected} expected, found {vectors.shape}")
        self.embedding.embedding[...] = jnp.asarray(vectors, jnp.float32)
