"""The log-probability of given text under a language model."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.errors import ConfigError
from nlstm_jax.models import LanguageModel
from nlstm_jax.tasks.base import eval_batches
from nlstm_jax.types import Array, Float, Int

_BATCH = 64
"""The number of texts that are read at once."""


def check_texts(texts: Sequence[str] | None) -> Sequence[str]:
    """Return the texts.

    Raises:
        ConfigError: There are none, or one text stands in place of a list.
    """
    if not texts or isinstance(texts, str):
        raise ConfigError(f"predict: a list of texts expected, found {'one text' if texts else 'none'}")
    return texts


def log_probabilities(
    model: LanguageModel, tokens: Int[np.ndarray, "N S"], lengths: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "N"]:
    """Return the log-probability of each row of symbols, given its first symbol.

    Args:
        model: The trained model.
        tokens: The indices of the symbols. What follows the end of a row is ignored.
        lengths: The number of symbols of each row after the first one.

    Returns:
        Nats ≤ 0, float32, the sum over the symbols of a row.
    """

    @jax.jit
    def score(tokens: Int[Array, "S B"], lengths: Int[Array, "B"]) -> Float[Array, "B"]:
        mask = (jnp.arange(len(tokens) - 1)[:, None] < lengths).astype(jnp.float32)
        _, _, nats = model.log_loss(tokens[:-1], tokens[1:], mask, lengths=lengths)
        return -(nats * mask).sum(0)

    indices, weights = eval_batches(len(tokens), min(_BATCH, len(tokens)))
    scores = [np.asarray(score(tokens[batch].T, lengths[batch])) for batch in indices]
    return np.concatenate(scores)[weights.reshape(-1) > 0]
