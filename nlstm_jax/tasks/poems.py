"""Poem language modeling: predict the next symbol of a poem from the symbols before it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.verse import ENGLISH_VERSE
from nlstm_jax.data.poems import (
    FIRST_CHARACTER,
    SPLITS,
    Corpus,
    Poem,
    Vocabulary,
    read_corpus,
    shared_lines,
)
from nlstm_jax.errors import DataError
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask, WeightedSum, to_means
from nlstm_jax.types import AnyArray, Array, Float, Int, PRNGKeyArray


class PoemBatch(NamedTuple):
    """A time-major batch of poems.

    Attributes:
        tokens: The indices of the symbols. The first one is `<bos>`.
        lengths: The number of targets of each poem.
    """

    tokens: Int[Array, "S B"]
    lengths: Int[Array, "B"]

    @property
    def mask(self) -> Float[Array, "T B"]:
        """The weights of the targets: 1 inside a poem, 0 past its end."""
        steps = jnp.arange(self.tokens.shape[0] - 1)
        return (steps[:, None] < self.lengths).astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoemExamples(ShuffledExamples):
    """The poems of a split.

    Attributes:
        tokens: The indices of the symbols, one poem per row, padded with `<eos>`.
        lengths: The number of targets of each poem.
    """

    tokens: Int[AnyArray, "N S"]
    lengths: Int[AnyArray, "N"]

    @property
    def size(self) -> int:
        """The number of poems."""
        return self.tokens.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> PoemBatch:
        """Return the poems with these indices as a batch."""
        tokens = jnp.asarray(self.tokens)[indices]
        lengths = jnp.asarray(self.lengths)[indices]
        return PoemBatch(tokens.T, lengths)


class PoemTask(StatelessTask):
    """A language model of poems, with the log-loss in nats per target. See `tasks.base.Task`.

    The targets are all symbols, the line ends and the poem's end.

    Attributes:
        vocabulary: The vocabulary of the training poems.
        separator: The text between two symbols of a line when a poem is written out.
        form: The length of every line, if all training poems have the same line lengths. Otherwise None.
    """

    metrics = ("log_loss", "log_loss_per_character", "perplexity")

    def __init__(self, corpus: Corpus, *, floor: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Encode a corpus.

        Args:
            corpus: The poems by split.
            floor: The lowest log-loss that a model can reach, by split and metric. None if it is unknown.
        """
        train_poems = corpus.splits["train"]
        self.vocabulary = Vocabulary.from_poems(train_poems)
        self.separator = corpus.separator
        self.form = _common_form(train_poems)

        self.splits: dict[str, PoemExamples] = {}
        log_lines = [f"vocabulary: {len(self.vocabulary.symbols):,} symbols"]
        for split, poems in corpus.splits.items():
            tokens, lengths, unknown = self.vocabulary.encode(poems)
            self.splits[split] = PoemExamples(tokens, lengths)

            line = f"{split}: {len(poems):,} poems, {int(lengths.sum()):,} targets"
            if unknown:
                line += f", {unknown} symbols that training lacks read as <R>"
            leaks = shared_lines(train_poems, poems) if split != "train" else 0
            if leaks:
                line += f", {leaks} poems that share two or more lines with one training poem"
            log_lines.append(line)

        self.log_lines = tuple(log_lines)
        self.targets_per_example = float(np.mean(self.splits["train"].lengths))
        self.model_dims = {"vocabulary": len(self.vocabulary.symbols)}
        self.metadata: dict[str, Any] = {
            "name": "poems",
            "checksums": corpus.checksums or {"generated": self._fingerprint()},
        }
        if floor:
            self.metadata["floor"] = dict(floor)

    def loss(self, model: Any, batch: PoemBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the log-loss in nats, summed over all targets of the batch."""
        inputs = batch.tokens[:-1]
        targets = batch.tokens[1:]
        mask = batch.mask
        _, nats, _ = model.log_loss(inputs, targets, mask, lengths=batch.lengths, key=key)
        return WeightedSum(nats, mask.sum())

    def measure(self, model: Any, batch: PoemBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Compute the log-loss in nats, over all targets and over characters alone (without line and poem ends)."""
        inputs = batch.tokens[:-1]
        targets = batch.tokens[1:]
        weights = batch.mask * weight
        _, total_nats, nats = model.log_loss(inputs, targets, weights, lengths=batch.lengths)
        character_weights = weights * (targets >= FIRST_CHARACTER)
        return {
            "log_loss": WeightedSum(total_nats, weights.sum()),
            "log_loss_per_character": WeightedSum((nats * character_weights).sum(), character_weights.sum()),
        }

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the log-loss, the log-loss per character, and the perplexity = exp(log-loss) of every split."""
        metrics = {}
        for split, means in to_means(totals).items():
            metrics[split] = {**means, "perplexity": float(np.exp(means["log_loss"]))}
        return metrics

    def _fingerprint(self) -> str:
        """Return the SHA-256 of the vocabulary and the encoded training poems."""
        symbols = " ".join(self.vocabulary.symbols)
        tokens = np.ascontiguousarray(self.splits["train"].tokens)
        return hashlib.sha256(symbols.encode() + tokens.tobytes()).hexdigest()


def build_poems(data: Mapping[str, Any], batch_size: int) -> PoemTask:
    """Build the task on the poems of `data.path`, or on generated verse if the path is empty.

    Args:
        data: The section `data` of a configuration.
        batch_size: The number of poems in a training batch.

    Raises:
        DataError: The poems cannot be read (see `read_corpus`), a split has no poem, or there are fewer training poems
            than `batch_size`.
    """
    floor: dict[str, dict[str, float]] | None = None
    if data["path"]:
        path = Path(data["path"])
        corpus = read_corpus(path)
        source = f"poems: {path}"
    else:
        corpus, floor = _generate(data)
        source = "poems: generated verse"

    for split in SPLITS:
        if not corpus.splits[split]:
            raise DataError(
                f"{source}: at least one poem in the {split} split expected, found none among "
                f"{sum(map(len, corpus.splits.values()))} poems, which a hash of their text "
                "splits 90/5/5; different poems, parted by blank lines, and more of them serve"
            )

    count = len(corpus.splits["train"])
    if count < batch_size:
        raise DataError(
            f"{source}: at least one batch of {batch_size} training poems expected, found {count}; "
            f"--config.train.batch_size={count} or less serves"
        )
    return PoemTask(corpus, floor=floor)


def _generate(data: Mapping[str, Any]) -> tuple[Corpus, dict[str, dict[str, float]]]:
    """Generate verse from the English grammar.

    Returns:
        The poems, and the floor of the validation split: the grammar's own log-loss on it.
    """
    splits = generate_poems(data)
    corpus = Corpus(splits, separator=" ")
    floor = {"valid": generator_log_loss(splits["valid"])}
    return corpus, floor


def generate_poems(data: Mapping[str, Any]) -> dict[str, list[Poem]]:
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


def _common_form(poems: list[Poem]) -> tuple[int, ...] | None:
    """Return the length of every line if all poems have the same line lengths, otherwise None."""
    forms = {tuple(map(len, poem)) for poem in poems}
    return forms.pop() if len(forms) == 1 else None
