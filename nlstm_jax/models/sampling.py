"""Sample sequences from a language model, symbol by symbol."""

from functools import partial

import jax
import jax.numpy as jnp

from nlstm_jax.models.language_model import LanguageModel
from nlstm_jax.types import Array, Bool, Carry, Float, Int, PRNGKeyArray


@partial(jax.jit, static_argnames=("count", "top_k"))
def draw(
    model: LanguageModel,
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
        model: The language model.
        begin: The symbol before the first one.
        forced: The symbol at each position where it is given, −1 where it is to be drawn.
        allowed: True for the symbols that are allowed at each position, at least one per position.
        key: The random key of the samples.
        count: The number of sequences.
        temperature: The number that the logits are divided by. 0 selects the most probable symbol.
        top_k: If > 0, only the k most probable of the allowed symbols are drawn. Among equally probable symbols, the
            first ones are taken.
    """

    def step(
        state: tuple[Carry, Array], inputs: tuple[Array, Array, Array]
    ) -> tuple[tuple[Carry, Array], Int[Array, "count"]]:
        carry, previous = state
        forced_symbol, is_allowed, step_key = inputs
        carry, logits = model(previous[None], carry)
        drawn = _draw_symbols(logits[0], is_allowed, step_key, temperature, top_k)
        symbols = jnp.where(forced_symbol >= 0, forced_symbol, drawn)
        return (carry, symbols), symbols

    first = jnp.full((count,), begin, jnp.int32)
    carry = model.cell.cell.initial_carry((count,))
    keys = jax.random.split(key, len(forced))
    _, symbols = jax.lax.scan(step, (carry, first), (forced, allowed, keys))
    return symbols.T


def _draw_symbols(
    logits: Float[Array, "B V"],
    is_allowed: Bool[Array, "V"],
    key: PRNGKeyArray,
    temperature: float | Float[Array, ""],
    top_k: int,
) -> Int[Array, "B"]:
    """Draw one symbol per sequence, with the arguments of `draw`."""
    logits = jnp.where(is_allowed, logits, -jnp.inf)
    if top_k:
        _, best = jax.lax.top_k(logits, min(top_k, logits.shape[-1]))
        is_best = jnp.zeros(logits.shape, bool).at[jnp.arange(len(best))[:, None], best].set(True)
        logits = jnp.where(is_best, logits, -jnp.inf)

    drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
    most_probable = logits.argmax(-1)
    return jnp.where(temperature > 0, drawn, most_probable).astype(jnp.int32)
