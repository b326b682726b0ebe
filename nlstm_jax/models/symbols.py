"""Symbols as vectors: one-hot, or rows of a table that is learnt."""

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.types import AnyArray, Array, Float, Int, PRNGKeyArray


class Symbols(nnx.Module):
    """Number n as the n-th unit vector, or as the n-th row of an embedding; a number below 0 as zeros.

    Attributes:
        vocabulary: V, the number of symbols.
        width: E, of a vector; V where they are one-hot.
    """

    def __init__(self, vocabulary: int, embedding: int | None, *, key: PRNGKeyArray) -> None:
        """Draw the embedding, if there is to be one.

        Args:
            vocabulary: V.
            embedding: E; None: one-hot.
            key: for the initial values, N(0, 1/E).
        """
        self.vocabulary, self.width = vocabulary, vocabulary if embedding is None else embedding
        self.embedding = None if embedding is None else nnx.Embed(vocabulary, embedding, rngs=nnx.Rngs(params=key))

    def __call__(self, numbers: Int[Array, "*b"]) -> Float[Array, "*b E"]:
        """Their vectors."""
        if self.embedding is None:
            return jax.nn.one_hot(numbers, self.vocabulary)
        return self.embedding(jnp.maximum(numbers, 0)) * (numbers >= 0)[..., None]

    def load(self, vectors: Float[AnyArray, "N W"]) -> None:
        """Put other vectors, pretrained ones say, in the place of those that were drawn.

        Raises:
            ValueError: they are of another shape, or the symbols are one-hot.
        """
        if self.embedding is None or vectors.shape != (self.vocabulary, self.width):
            own = None if self.embedding is None else (self.vocabulary, self.width)
            raise ValueError(f"vectors of the shape {own} expected, found {vectors.shape}")
        self.embedding.embedding[...] = jnp.asarray(vectors, jnp.float32)
