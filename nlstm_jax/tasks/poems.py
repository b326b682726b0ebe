"""Poem language modelling: the next symbol of a poem, from those before it."""

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
    """Time-major; the first token is `<bos>`."""

    tokens: Int[Array, "S B"]
    lengths: Int[Array, "B"]

    @property
    def real(self) -> Float[Array, "T B"]:
        """1 for every target that is one, 0 past a poem's end."""
        steps = jnp.arange(self.tokens.shape[0] - 1)
        return (steps[:, None] < self.lengths).astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PoemExamples(ShuffledExamples):
    """A split's poems as rows of symbol numbers, and how many targets each has."""

    tokens: Int[AnyArray, "N S"]
    lengths: Int[AnyArray, "N"]

    @property
    def size(self) -> int:
        """The number of poems."""
        return self.tokens.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> PoemBatch:
        """These poems as a batch."""
        return PoemBatch(jnp.asarray(self.tokens)[indices].T, jnp.asarray(self.lengths)[indices])


class PoemTask(StatelessTask):
    """Log-loss in nats per target: every symbol, line end and poem end. See `tasks.base.Task`.

    Attributes:
        vocabulary: of the training poems.
        separator: what stands between symbols when a poem is written out.
        form: the length of every line, where all training poems have the same; None otherwise.
    """

    metrics = ("log_loss", "log_loss_per_character", "perplexity")

    def __init__(self, corpus: Corpus, *, floor: Mapping[str, Any] | None = None) -> None:
        """Encode a corpus.

        Args:
            corpus: poems by split.
            floor: by split, the log-loss below which no model can stay, where it is known.
        """
        self.vocabulary = Vocabulary.of(corpus.splits["train"])
        self.separator = corpus.separator
        forms = {tuple(len(line) for line in poem) for poem in corpus.splits["train"]}
        self.form = forms.pop() if len(forms) == 1 else None
        self.splits: dict[str, PoemExamples] = {}
        notes = [f"vocabulary: {len(self.vocabulary.symbols):,} symbols"]
        for split, poems in corpus.splits.items():
            tokens, lengths, unknown = self.vocabulary.encode(poems)
            self.splits[split] = PoemExamples(tokens, lengths)
            note = f"{split}: {len(poems):,} poems, {int(lengths.sum()):,} targets"
            if unknown:
                note += f", {unknown} symbols that training lacks read as <R>"
            if split != "train" and (leaks := shared_lines(corpus.splits["train"], poems)):
                note += f", {leaks} poems that share two or more lines with one training poem"
            notes.append(note)
        self.log_lines = tuple(notes)
        self.targets_per_example = float(np.mean(self.splits["train"].lengths))
        self.model_dims = {"vocabulary": len(self.vocabulary.symbols)}
        self.metadata: dict[str, Any] = {
            "name": "poems",
            "checksums": corpus.checksums or {"generated": self._fingerprint()},
        }
        if floor:
            self.metadata["floor"] = dict(floor)

    def loss(self, model: Any, batch: PoemBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Nats over all targets of the batch."""
        real = batch.real
        _, nats, _ = model.log_loss(batch.tokens[:-1], batch.tokens[1:], real, lengths=batch.lengths, key=key)
        return WeightedSum(nats, real.sum())

    def measure(self, model: Any, batch: PoemBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Nats over all targets, and over characters (line and poem ends left out)."""
        real, targets = batch.real * weight, batch.tokens[1:]
        _, total, nats = model.log_loss(batch.tokens[:-1], targets, real, lengths=batch.lengths)
        character = real * (targets >= FIRST_CHARACTER)
        return {
            "log_loss": WeightedSum(total, real.sum()),
            "log_loss_per_character": WeightedSum((nats * character).sum(), character.sum()),
        }

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Log-loss, log-loss per character, and perplexity = exp(log-loss)."""
        return {
            split: {**means, "perplexity": float(np.exp(means["log_loss"]))}
            for split, means in to_means(totals).items()
        }

    def _fingerprint(self) -> str:
        """Of the poems that this task trains on."""
        tokens = np.ascontiguousarray(self.splits["train"].tokens)
        return hashlib.sha256(" ".join(self.vocabulary.symbols).encode() + tokens.tobytes()).hexdigest()


def build_poems(data: Mapping[str, Any], batch_size: int) -> PoemTask:
    """The task on the poems that a configuration's `data` section names, or on generated verse.

    Raises:
        DataError: see `read_corpus`; or a split with no poem, or fewer training poems than a batch has.
    """
    if data["path"]:
        path = Path(data["path"])
        corpus, floor = read_corpus(path), None
        where = f"poems: {path}"
    else:
        corpus, floor = _generate(data)
        where = "poems: generated verse"
    for split in SPLITS:
        if not corpus.splits[split]:
            raise DataError(
                f"{where}: at least one poem in the {split} split expected, found none among "
                f"{sum(map(len, corpus.splits.values()))} poems, which a hash of their text "
                "splits 90/5/5; different poems, parted by blank lines, and more of them serve"
            )
    count = len(corpus.splits["train"])
    if count < batch_size:
        raise DataError(
            f"{where}: at least one batch of {batch_size} training poems expected, found {count}; "
            f"--config.train.batch_size={count} or less serves"
        )
    return PoemTask(corpus, floor=floor)


def _generate(data: Mapping[str, Any]) -> tuple[Corpus, dict[str, dict[str, float]]]:
    """Verse by the English grammar; the validation split's floor is the grammar's own log-loss on it."""
    splits = generate_poems(data)
    return Corpus(splits, separator=" "), {"valid": generator_log_loss(splits["valid"])}


def generate_poems(data: Mapping[str, Any]) -> dict[str, list[Poem]]:
    """Verse by the English grammar, as many poems a split as a `data` section says."""
    counts = [data[f"{split}_poems"] for split in SPLITS]
    poems = ENGLISH_VERSE.sample(sum(counts), seed=data["seed"])
    bounds = np.cumsum([0, *counts])
    return {split: poems[bounds[n] : bounds[n + 1]] for n, split in enumerate(SPLITS)}


def generator_log_loss(poems: list[Poem]) -> dict[str, float]:
    """The English grammar's log-loss on poems of its own, in nats per target and per word."""
    log_probabilities = ENGLISH_VERSE.log_probabilities(poems)
    ends = np.cumsum([len(line) + 1 for line in poems[0]]) - 1
    words = np.delete(log_probabilities, ends, axis=1)
    return {"log_loss": float(-log_probabilities.mean()), "log_loss_per_character": float(-words.mean())}
