"""A sequence-to-sequence model.

An encoder reads the input sequence. Its last carry is the initial carry of a decoder, which writes the output.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell, MinimalCell, complete
from nlstm_jax.cells.base import fold_in_name, fold_in_name_if_key
from nlstm_jax.models.symbols import Symbols
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray

FEEDS = ("context", "previous")
"""The kinds of decoder input, see `Seq2Seq`."""

_NO_SYMBOL = -1
"""The symbol before the first one, whose vector is zeros."""


class Seq2Seq(nnx.Module):
    """A sequence-to-sequence model: symbols → encoder ⇒ carry ⇒ decoder → softmax.

    The input of the decoder at every step depends on `feed`. With `context` it is the last output of the encoder. With
    `previous` it is the symbol of the previous step: in training the correct one (teacher forcing), in `write` the
    most probable one.

    Arrays are time-major. The initial values of an embedding are N(0, 1/E), those of the softmax are Flax's defaults
    (LeCun normal, zero bias), and those of the cells follow their own scheme.

    Source: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (arXiv 1409.3215);
    `context` is that of Cho et al. 2014 (arXiv 1406.1078).

    >>> from nlstm_jax import GRU
    >>> model = Seq2Seq(vocabulary=6, cell=GRU(4), key=jax.random.key(0))
    >>> model(jnp.zeros((7, 5), int), jnp.zeros((2, 5), int)).shape
    (2, 5, 6)
    """

    def __init__(
        self,
        vocabulary: int,
        cell: MinimalCell,
        *,
        embedding: int | None = None,
        feed: str = "context",
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Initialize the model.

        Args:
            vocabulary: The number of symbols V, the same for the input and the output.
            cell: The cell of both encoder and decoder. Each of them has parameters of its own.
            embedding: The width E of the vectors of the symbols. None means one-hot vectors.
            feed: The kind of decoder input, `context` or `previous`.
            over_time: The options `mode`, `remat` and `truncate` of `unroll` that differ from the defaults.
            key: The random key of the initial values.

        Raises:
            ValueError: The feed is unknown.
        """
        if feed not in FEEDS:
            raise ValueError(f"feed: one of {', '.join(FEEDS)} expected, found {feed!r}")
        cell = complete(cell)
        self.feed = feed
        self.symbols = Symbols(vocabulary, embedding, key=fold_in_name(key, "symbols"))
        options: dict[str, Any] = {"time_major": True, **(over_time or {})}
        self.encoder = Recurrent(cell, self.symbols.width, rngs=fold_in_name(key, "encoder"), **options)
        decoder_in_features = decoder_width(cell, self.symbols.width, feed)
        self.decoder = Recurrent(cell, decoder_in_features, rngs=fold_in_name(key, "decoder"), **options)
        self.softmax = nnx.Linear(cell.out_features, vocabulary, rngs=nnx.Rngs(params=fold_in_name(key, "softmax")))

    def __call__(
        self, inputs: Int[Array, "T B"], targets: Int[Array, "S B"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "S B V"]:
        """Compute the logits of every target, from the inputs and, with the feed `previous`, the earlier targets.

        Args:
            inputs: The symbols that the encoder reads. Negative numbers are blanks.
            targets: The symbols that the decoder should write.
            key: The random key of the noise. None means no noise.
        """
        carry, context = self.encode(inputs, key=key)
        if self.feed == "context":
            decoder_inputs = jnp.broadcast_to(context, (len(targets), *context.shape))
        else:
            previous = jnp.concatenate([jnp.full_like(targets[:1], _NO_SYMBOL), targets[:-1]])
            decoder_inputs = self.symbols(previous)
        _, ys = self.decoder(decoder_inputs, carry, key=fold_in_name_if_key(key, "decoder"))
        return self.softmax(ys)

    def write(self, inputs: Int[Array, "T B"], count: int) -> Int[Array, "count B"]:
        """Write `count` symbols, at every step the most probable one, without noise."""
        carry, context = self.encode(inputs)

        def write_symbol(state: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
            carry, previous = state
            decoder_input = context if self.feed == "context" else self.symbols(previous)
            carry, logits = self.step(carry, decoder_input)
            symbol = logits.argmax(-1).astype(jnp.int32)
            return (carry, symbol), symbol

        before_first = jnp.full(inputs.shape[1:], _NO_SYMBOL, jnp.int32)
        _, symbols = jax.lax.scan(write_symbol, (carry, before_first), length=count)
        return symbols

    def encode(
        self, inputs: Int[Array, "T B"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Carry, Float[Array, "B O"]]:
        """Compute the last carry and the last output of the encoder. Without a `key` there is no noise."""
        carry, ys = self.encoder(self.symbols(inputs), key=fold_in_name_if_key(key, "encoder"))
        return carry, ys[-1]

    def step(self, carry: Carry, decoder_input: Float[Array, "B E"]) -> tuple[Carry, Float[Array, "B V"]]:
        """Compute the carry and the logits after one step of the decoder, without noise.

        Args:
            carry: The carry of the decoder. That of the first step is the last carry of the encoder.
            decoder_input: The context, or the vectors of the symbols before, as `feed` says.
        """
        carry, ys = self.decoder(decoder_input[None], carry)
        return carry, self.softmax(ys[0])


def decoder_width(cell: Cell, width: int, feed: str) -> int:
    """Return the input width of the decoder.

    Args:
        cell: The cell of the encoder, whose output is the decoder's input with the feed `context`.
        width: The width of the vectors of the symbols.
        feed: The kind of decoder input, `context` or `previous`.
    """
    return cell.out_features if feed == "context" else width
