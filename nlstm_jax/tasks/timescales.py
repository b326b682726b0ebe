"""The task of two time scales: predict a fast position that a slow hidden state gates or feeds.

See `data.generators.timescales`. The loss of the best possible predictor is known, and is reported beside the model's.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.timescales import Variant, optimal_log_loss, sample, slow_and_fast
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.models import LanguageModel, build_language_model
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import LANGUAGE_MODEL
from nlstm_jax.settings.setting import seed
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask
from nlstm_jax.tasks.sums import WeightedSum
from nlstm_jax.types import AnyArray, Array, Config, Float, Int, PRNGKeyArray


class TimescalesBatch(NamedTuple):
    """A time-major batch of sequences.

    Attributes:
        inputs: All symbols but the last.
        targets: All symbols but the first.
        optimum: The log-loss of the best possible predictor on each target, in nats.
    """

    inputs: Int[Array, "T B"]
    targets: Int[Array, "T B"]
    optimum: Float[Array, "T B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TimescalesExamples(ShuffledExamples):
    """The sequences of a split.

    Attributes:
        symbols: The symbols, one sequence of T + 1 per row.
        optimum: The log-loss of the best possible predictor on each symbol but the first, in nats.
    """

    symbols: Int[AnyArray, "N S"]
    optimum: Float[AnyArray, "N T"]

    @property
    def size(self) -> int:
        """The number of sequences."""
        return self.symbols.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> TimescalesBatch:
        """Return the sequences with these indices as a batch."""
        symbols = jnp.asarray(self.symbols)[indices].T
        optimum = jnp.asarray(self.optimum)[indices].T
        return TimescalesBatch(symbols[:-1], symbols[1:], optimum)


class TimescalesTask(StatelessTask[LanguageModel, TimescalesBatch]):
    """The task of two time scales, with the log-loss in nats per symbol. See `tasks.base.Task`.

    Every symbol but the first is predicted from all symbols before it. The first one is uniform and does not count.
    `excess` is the log-loss minus that of the forward algorithm on the same symbols. No predictor has a lower expected
    log-loss, so the expected excess on new sequences is at least 0.
    """

    settings: ClassVar = {
        "data.process": Setting("gates", "how the slow state acts on the fast one", choices=("gates", "feeds")),
        "data.positions": Setting(7, "M, positions of the fast state", low=3, high=10_000),
        "data.switch": Setting(0.02, "probability that the slow state changes in a step", low=0, high=1),
        "data.noise": Setting(0.1, "probability that the position is not the predicted one", low=0, high=1),
        "data.length": Setting(200, "symbols in a sequence", low=2, high=100_000),
        "data.train_sequences": Setting(2000, "sequences to train on", low=1, high=10_000_000),
        "data.valid_sequences": Setting(400, "sequences to validate on", low=1, high=10_000_000),
        "data.test_sequences": Setting(400, "sequences to test on", low=1, high=10_000_000),
        "data.seed": seed("of the training sequences; those to validate and to test on have the next two"),
        **LANGUAGE_MODEL,
    }
    metrics = (
        Metric("log_loss", "nats per symbol"),
        Metric("excess", "nats per symbol above the optimum"),
    )
    question = Question(
        version=1,
        settings=(
            "data.process",
            "data.positions",
            "data.switch",
            "data.noise",
            "data.length",
            "data.train_sequences",
            "data.valid_sequences",
            "data.test_sequences",
            "data.seed",
        ),
    )

    splits: dict[str, TimescalesExamples]

    def __init__(self, data: Config) -> None:
        """Draw the sequences of all splits, and compute the optimum on each symbol.

        Args:
            data: The section `data` of a configuration.
        """
        rules = (data["process"], data["positions"], data["switch"], data["noise"])
        self.splits = {}
        for offset, split in enumerate(SPLITS):
            count = data[f"{split}_sequences"]
            self.splits[split] = _draw_examples(rules, count, data["length"], data["seed"] + offset)

        optima = {split: float(examples.optimum.mean()) for split, examples in self.splits.items()}
        sizes = ", ".join(f"{split} {examples.size:,}" for split, examples in self.splits.items())
        self.log_lines = (
            f"{data['process']}: {sizes} sequences of {data['length']:,} symbols; the optimum is "
            f"{optima['valid']:.4f} nats per symbol on the validation split",
        )
        self.targets_per_example = float(data["length"] - 1)
        self.model_dims = {"vocabulary": 2 * data["positions"]}
        checksum = hashlib.sha256()
        for examples in self.splits.values():
            checksum.update(np.asarray(examples.symbols).tobytes())
        self.metadata = {
            "name": data["process"],
            "checksums": {"generated": checksum.hexdigest()},
            "floor": {"valid": {"log_loss": optima["valid"], "excess": 0.0}},
        }

    @classmethod
    def from_config(cls, config: Config) -> "TimescalesTask":
        """Build the task from generated sequences."""
        return cls(config["data"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> LanguageModel:
        """Build the language model over the symbols."""
        return build_language_model(config, dims["vocabulary"])

    def loss(self, model: LanguageModel, batch: TimescalesBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the log-loss in nats, summed over all targets."""
        weights = jnp.ones(batch.targets.shape)
        _, nats, _ = model.log_loss(batch.inputs, batch.targets, weights, key=key)
        return WeightedSum(nats, weights.sum())

    def measure(
        self, model: LanguageModel, batch: TimescalesBatch, weight: Float[Array, "B"]
    ) -> dict[str, WeightedSum]:
        """Compute the log-loss and its excess over the optimum, in nats."""
        weights = jnp.broadcast_to(weight, batch.targets.shape)
        _, _, nats = model.log_loss(batch.inputs, batch.targets, weights)
        targets = weights.sum()
        return {
            "log_loss": WeightedSum((nats * weights).sum(), targets),
            "excess": WeightedSum(((nats - batch.optimum) * weights).sum(), targets),
        }

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the symbols of the first sequences. See `abilities.ShowsExamples`."""
        return [" ".join(map(str, symbols)) for symbols in np.asarray(self.splits[split].symbols)[:count]]


@functools.lru_cache(maxsize=6)
def _draw_examples(rules: tuple[Variant, int, float, float], count: int, length: int, seed: int) -> TimescalesExamples:
    """Draw sequences, and compute the log-loss of the best possible predictor on them.

    They are drawn once in this process, as all trials of a sweep have them in common. `rules` are the arguments of
    `slow_and_fast`.
    """
    process = slow_and_fast(*rules)
    symbols = sample(process, count, length, seed)
    optimum = optimal_log_loss(process, symbols)[:, 1:]
    return TimescalesExamples(symbols, optimum.astype(np.float32))
