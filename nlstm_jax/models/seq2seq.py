"""A sequence from a sequence: an encoder reads, and its memory starts a decoder that writes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell
from nlstm_jax.cells.base import fold_in_name
from nlstm_jax.models.symbols import Symbols
from nlstm_jax.types import Array, Carry, Float, Int, PRNGKeyArray

FEEDS = ("context", "previous")
_NOTHING = -1
"""The symbol before the first, whose vector is zeros."""


class Seq2Seq(nnx.Module):
    """symbols → encoder ⇒ carry ⇒ decoder → softmax, time-major.

    What the decoder reads at every step is the encoder's last output (`context`), or its own symbol of the step before
    (`previous`): in training the right one (teacher forcing), and when it runs freely the most probable one.
    Source: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (arXiv 1409.3215);
    `context` is that of Cho et al. 2014 (arXiv 1406.1078).

    Initial values: an embedding N(0, 1/E), the softmax Flax's (LeCun normal, zero bias), the cells their own.
    """

    def __init__(
        self,
        vocabulary: int,
        cell: Cell,
        *,
        embedding: int | None = None,
        feed: str = "context",
        over_time: Mapping[str, Any] | None = None,
        key: PRNGKeyArray,
    ) -> None:
        """Make the model.

        Args:
            vocabulary: V, the number of symbols, of what is read and what is written.
            cell: of encoder and decoder, each with its own parameters.
            embedding: E, the width of a symbol's vector; None: one-hot.
            feed: `context` or `previous`.
            over_time: `mode`, `remat` and `truncate` of `unroll`, where they are not the default.
            key: for the initial values.

        Raises:
            ValueError: another feed.
        """
        if feed not in FEEDS:
            raise ValueError(f"feed: one of {', '.join(FEEDS)} expected, found {feed!r}")
        self.feed = feed
        self.symbols = Symbols(vocabulary, embedding, key=fold_in_name(key, "symbols"))
        options: dict[str, Any] = {"time_major": True, **(over_time or {})}
        self.encoder = Recurrent(cell, self.symbols.width, rngs=fold_in_name(key, "encoder"), **options)
        read = decoder_width(cell, self.symbols.width, feed)
        self.decoder = Recurrent(cell, read, rngs=fold_in_name(key, "decoder"), **options)
        self.softmax = nnx.Linear(cell.out_features, vocabulary, rngs=nnx.Rngs(params=fold_in_name(key, "softmax")))

    def __call__(
        self, given: Int[Array, "T B"], targets: Int[Array, "S B"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "S B V"]:
        """Logits of every target, from what is given and, with the feed `previous`, from the targets before it.

        Args:
            given: what the encoder reads; numbers below 0 are blanks.
            targets: what is to be written.
            key: draws the cells' noise; None: none.
        """
        carry, last = self._encode(given, key)
        if self.feed == "context":
            inputs = jnp.broadcast_to(last, (len(targets), *last.shape))
        else:
            before = jnp.concatenate([jnp.full_like(targets[:1], _NOTHING), targets[:-1]])
            inputs = self.symbols(before)
        _, ys = self.decoder(inputs, carry, key=None if key is None else fold_in_name(key, "decoder"))
        return self.softmax(ys)

    def write(self, given: Int[Array, "T B"], count: int) -> Int[Array, "count B"]:
        """The most probable symbols, one after the other, `count` of them; no noise."""
        carry, last = self._encode(given, None)

        def step(state: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
            carry, previous = state
            read = last if self.feed == "context" else self.symbols(previous)
            carry, ys = self.decoder(read[None], carry)
            symbol = self.softmax(ys[0]).argmax(-1).astype(jnp.int32)
            return (carry, symbol), symbol

        nothing = jnp.full(given.shape[1:], _NOTHING, jnp.int32)
        return jax.lax.scan(step, (carry, nothing), length=count)[1]

    def _encode(self, given: Int[Array, "T B"], key: PRNGKeyArray | None) -> tuple[Carry, Float[Array, "B O"]]:
        carry, ys = self.encoder(self.symbols(given), key=None if key is None else fold_in_name(key, "encoder"))
        return carry, ys[-1]


def decoder_width(cell: Cell, width: int, feed: str) -> int:
    """What the decoder reads at a step: the encoder's output, or a symbol's vector of this width."""
    return cell.out_features if feed == "context" else width
