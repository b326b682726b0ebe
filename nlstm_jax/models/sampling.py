"""Sequences drawn from a language model, symbol by symbol."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax.types import Array, Bool, Float, Int, PRNGKeyArray


@partial(jax.jit, static_argnames=("count", "top_k"))
def draw(
    model: Any,
    begin: int,
    forced: Int[Array, "S"],
    allowed: Bool[Array, "S V"],
    key: PRNGKeyArray,
    *,
    count: int,
    temperature: float,
    top_k: int = 0,
) -> Int[Array, "count S"]:
    """Draw `count` sequences of S symbols.

    Args:
        model: a `LanguageModel`.
        begin: the symbol before the first.
        forced: the symbol at each place where it is given, −1 where it is to be drawn.
        allowed: which symbols may stand at each place; at least one.
        key: the draw.
        count: sequences.
        temperature: logits are divided by it; 0 takes the most probable symbol.
        top_k: if > 0: only the k most probable of the symbols allowed; of equally probable ones the first in order.
    """

    def body(carry: tuple, place: tuple) -> tuple[tuple, Int[Array, "count"]]:
        memory, last = carry
        given, may, place_key = place
        memory, logits = model(last[None], memory)
        symbol = jnp.where(given >= 0, given, _choose(logits[0], may, place_key, temperature, top_k))
        return (memory, symbol), symbol

    start = jnp.full((count,), begin, jnp.int32)
    memory = model.cell.cell.initial_carry((count,))
    keys = jax.random.split(key, len(forced))
    _, symbols = jax.lax.scan(body, (memory, start), (forced, allowed, keys))
    return symbols.T


def _choose(
    logits: Float[Array, "B V"], may: Bool[Array, "V"], key: PRNGKeyArray, temperature: float, top_k: int
) -> Int[Array, "B"]:
    logits = jnp.where(may, logits, -jnp.inf)
    if top_k:
        _, best = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))
        is_best = jnp.zeros(logits.shape, bool).at[jnp.arange(len(best))[:, None], best].set(True)
        logits = jnp.where(is_best, logits, -jnp.inf)
    drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)
