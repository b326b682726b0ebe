"""The task of state tracking: delayed recall, or the word problem of a group, tested at lengths beyond training.

See `data.generators.state_tracking`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.state_tracking import (
    Group,
    TrackingData,
    delayed_recall,
    generators_of,
    group_elements,
    word_problem,
)
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import LanguageModel, build_language_model
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import LANGUAGE_MODEL
from nlstm_jax.settings.setting import seed
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask
from nlstm_jax.tasks.sums import WeightedSum
from nlstm_jax.types import AnyArray, Array, Bool, Config, Float, Int, PRNGKeyArray

_COMPACT = np.uint8
"""The dtype in which examples are kept. It holds the 120 elements of S5, and up to 254 symbols to recall."""


class TrackingBatch(NamedTuple):
    """A time-major batch of sequences.

    Attributes:
        inputs: The symbols that are read.
        targets: The symbols or states that are asked for.
        mask: True where a target counts.
    """

    inputs: Int[Array, "T B"]
    targets: Int[Array, "T B"]
    mask: Bool[Array, "T B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrackingExamples(ShuffledExamples):
    """The sequences of a split, padded to the longest length.

    Attributes:
        inputs: The symbols that are read.
        targets: The symbols or states that are asked for.
        first: The first time step whose target counts.
        lengths: The number of time steps of each sequence.
    """

    inputs: Int[AnyArray, "N T"]
    targets: Int[AnyArray, "N T"]
    first: Int[AnyArray, "N"]
    lengths: Int[AnyArray, "N"]

    @classmethod
    def from_data(cls, data: TrackingData) -> "TrackingExamples":
        """Keep generated sequences in as few bytes as they need. The targets that count are the last ones."""
        first = data.mask.argmax(axis=1).astype(np.int32)
        return cls(data.inputs.astype(_COMPACT), data.targets.astype(_COMPACT), first, data.lengths)

    @property
    def size(self) -> int:
        """The number of sequences."""
        return self.inputs.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> TrackingBatch:
        """Return the sequences with these indices as a batch."""
        inputs = jnp.asarray(self.inputs)[indices].T.astype(jnp.int32)
        targets = jnp.asarray(self.targets)[indices].T.astype(jnp.int32)
        time = jnp.arange(inputs.shape[0])[:, None]
        first = jnp.asarray(self.first)[indices]
        lengths = jnp.asarray(self.lengths)[indices]
        return TrackingBatch(inputs, targets, (first <= time) & (time < lengths))


class StateTrackingTask(StatelessTask[LanguageModel, TrackingBatch]):
    """The task of state tracking, with the log-loss in nats per target. See `tasks.base.Task`.

    `token_accuracy` is the share of the targets that the model finds most probable. `sequence_accuracy` is the share
    of the sequences all of whose targets it finds. Sequences to train and to validate on have the same lengths, those
    to test on have lengths of their own. With at least batch size × steps training sequences no sequence comes twice.
    """

    settings: ClassVar = {
        "data.kind": Setting(
            "recall", "delayed recall, or the word problem of a group", choices=("recall", "s5", "s3", "parity")
        ),
        "data.symbols": Setting(8, "recall: different items", low=1, high=254),
        "data.items": Setting(4, "recall: items in a sequence", low=1, high=10_000),
        "data.shortest": Setting(8, "time steps of the shortest sequence: train, valid", low=1, high=100_000),
        "data.longest": Setting(40, "of the longest", low=1, high=100_000),
        "data.test_shortest": Setting(41, "time steps of the shortest sequence: test", low=1, high=100_000),
        "data.test_longest": Setting(256, "of the longest", low=1, high=100_000),
        "data.train_sequences": Setting(384_000, "sequences to train on", low=1, high=10_000_000),
        "data.valid_sequences": Setting(500, "sequences to validate on", low=1, high=10_000_000),
        "data.test_sequences": Setting(500, "sequences to test on", low=1, high=10_000_000),
        "data.seed": seed("of the training sequences; those to validate and to test on have the next two"),
        **LANGUAGE_MODEL,
    }
    metrics = (
        Metric("log_loss", "nats per target"),
        Metric("token_accuracy", higher_is_better=True),
        Metric("sequence_accuracy", higher_is_better=True),
    )
    question = Question(
        version=1,
        settings=(
            "data.kind",
            "data.symbols",
            "data.items",
            "data.shortest",
            "data.longest",
            "data.test_shortest",
            "data.test_longest",
            "data.train_sequences",
            "data.valid_sequences",
            "data.test_sequences",
            "data.seed",
        ),
    )

    splits: dict[str, TrackingExamples]

    def __init__(self, data: Config) -> None:
        """Draw the sequences of all splits.

        Args:
            data: The section `data` of a configuration.

        Raises:
            ConfigError: The lengths are not ascending, or too short for the items and their recall.
        """
        self.splits = {split: _draw_examples(data, split) for split in SPLITS}
        is_recall = data["kind"] == "recall"
        if is_recall:
            # A blank and the signal are symbols too. A blank is never a target.
            dims = {"vocabulary": data["symbols"] + 2, "classes": data["symbols"] + 1}
        else:
            dims = {"vocabulary": len(generators_of(data["kind"])), "classes": len(group_elements(data["kind"]))}

        train = self.splits["train"]
        sizes = ", ".join(f"{split} {examples.size:,}" for split, examples in self.splits.items())
        self.log_lines = (
            f"{data['kind']}: {sizes} sequences; {data['shortest']:,} to {data['longest']:,} time steps, test "
            f"{data['test_shortest']:,} to {data['test_longest']:,}",
        )
        self.targets_per_example = float(np.mean(train.lengths - train.first))
        self.model_dims = dims
        checksum = hashlib.sha256()
        for examples in self.splits.values():
            for array in (examples.inputs, examples.targets, examples.lengths):
                checksum.update(np.asarray(array).tobytes())
        self.metadata = {"name": data["kind"], "checksums": {"generated": checksum.hexdigest()}}

    @classmethod
    def from_config(cls, config: Config) -> "StateTrackingTask":
        """Build the task from generated sequences."""
        return cls(config["data"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> LanguageModel:
        """Build a language model that reads the symbols and predicts the states."""
        return build_language_model(config, dims["vocabulary"], dims["classes"])

    def loss(self, model: LanguageModel, batch: TrackingBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the log-loss in nats, summed over the targets that count."""
        weights = batch.mask.astype(jnp.float32)
        _, nats, _ = model.log_loss(batch.inputs, batch.targets, weights, key=key)
        return WeightedSum(nats, weights.sum())

    def measure(self, model: LanguageModel, batch: TrackingBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Compute the log-loss in nats, and the numbers of correct targets and sequences."""
        _, logits = model(batch.inputs)
        log_probabilities = jax.nn.log_softmax(logits)
        nats = -jnp.take_along_axis(log_probabilities, batch.targets[..., None], axis=-1)[..., 0]
        weights = batch.mask * weight
        is_correct = logits.argmax(-1) == batch.targets
        is_solved = (is_correct | ~batch.mask).all(0)
        return {
            "log_loss": WeightedSum((nats * weights).sum(), weights.sum()),
            "token_accuracy": WeightedSum((is_correct * weights).sum(), weights.sum()),
            "sequence_accuracy": WeightedSum((is_solved * weight).sum(), weight.sum()),
        }

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first sequences with the targets that count. See `abilities.ShowsExamples`."""
        examples = self.splits[split]
        lines = []
        for index in range(min(count, examples.size)):
            first = int(examples.first[index])
            length = int(examples.lengths[index])
            inputs = " ".join(map(str, examples.inputs[index, :length]))
            targets = " ".join(map(str, examples.targets[index, first:length]))
            lines.append(f"{inputs} → {targets}")
        return lines


def _draw_examples(data: Config, split: str) -> TrackingExamples:
    """Draw the sequences of a split.

    Raises:
        ConfigError: The lengths are not ascending, or too short for the items and their recall.
    """
    prefix = "test_" if split == "test" else ""
    count = data[f"{split}_sequences"]
    lengths = (data[f"{prefix}shortest"], data[f"{prefix}longest"])
    split_seed = data["seed"] + SPLITS.index(split)
    try:
        if data["kind"] == "recall":
            drawn = delayed_recall(count, data["symbols"], data["items"], lengths, split_seed)
        else:
            drawn = word_problem(cast(Group, data["kind"]), count, lengths, split_seed)
    except ValueError as error:
        raise ConfigError(f"config.data.{prefix}shortest and {prefix}longest: {error}") from None
    return TrackingExamples.from_data(drawn)
