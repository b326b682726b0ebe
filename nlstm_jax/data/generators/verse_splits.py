"""Generated verse in splits, and the log-loss of the grammar that it was generated from."""

import numpy as np

from nlstm_jax.data.generators.verse import ENGLISH_VERSE
from nlstm_jax.data.poems import SPLITS, Poem
from nlstm_jax.types import Config


def generate_poems(data: Config) -> dict[str, list[Poem]]:
    """Generate the poems of every split from the English grammar.

    Args:
        data: The section `data` of a configuration, with `seed` and the number of poems of each split.
    """
    counts = [data[f"{split}_poems"] for split in SPLITS]
    poems = ENGLISH_VERSE.sample(sum(counts), seed=data["seed"])

    splits = {}
    start = 0
    for split, count in zip(SPLITS, counts, strict=True):
        splits[split] = poems[start : start + count]
        start += count
    return splits


def generator_log_loss(poems: list[Poem]) -> dict[str, float]:
    """Return the log-loss of the English grammar on poems that it generated, in nats per target and per word."""
    log_probabilities = ENGLISH_VERSE.log_probabilities(poems)
    line_ends = np.cumsum([len(line) + 1 for line in poems[0]]) - 1
    word_log_probabilities = np.delete(log_probabilities, line_ends, axis=1)
    return {
        "log_loss": float(-log_probabilities.mean()),
        "log_loss_per_character": float(-word_log_probabilities.mean()),
    }
