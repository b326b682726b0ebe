"""The echo task: repeat the first symbols of a sequence after all of it was read."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from nlstm_jax.data.generators.synthetic import distinct_sequences
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Seq2Seq, build_seq2seq
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import SYMBOLS
from nlstm_jax.settings.setting import seed
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask
from nlstm_jax.tasks.sampling import SampleRequest
from nlstm_jax.tasks.sums import WeightedSum
from nlstm_jax.types import AnyArray, Array, Config, Float, Int, PRNGKeyArray

BLANK = -1
"""The index of a blank in the inputs."""


class EchoBatch(NamedTuple):
    """A time-major batch of sequences.

    Attributes:
        inputs: The indices of the symbols to read, followed by the blanks (−1).
        targets: The indices of the symbols to repeat.
    """

    inputs: Int[Array, "T B"]
    targets: Int[Array, "S B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EchoExamples(ShuffledExamples):
    """The sequences of a split.

    Attributes:
        symbols: The indices of the symbols, one sequence per row.
        echo_length: The number of symbols to repeat, S.
        delay: The number of blanks that are read after the last symbol.
    """

    symbols: Int[AnyArray, "N L"]
    echo_length: int = field(metadata={"static": True})
    delay: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """The number of sequences."""
        return self.symbols.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> EchoBatch:
        """Return the sequences with these indices as a batch."""
        symbols = jnp.asarray(self.symbols)[indices].T
        inputs = jnp.pad(symbols, ((0, self.delay), (0, 0)), constant_values=BLANK)
        return EchoBatch(inputs, symbols[: self.echo_length])


class EchoTask(StatelessTask[Seq2Seq, EchoBatch]):
    """The echo task, with the log-loss in nats per symbol and the accuracies of symbols and sequences.

    The log-loss is that of the correct echo: each symbol is predicted from the correct symbols before it. For the
    accuracies the decoder runs freely: it reads its own earlier outputs. See `tasks.base.Task`.

    Attributes:
        symbols: The symbols of the vocabulary, in the order of their indices.
    """

    settings: ClassVar = {
        "data.length": Setting(5, "symbols in a sequence", low=1, high=100_000),
        "data.echo_length": Setting(
            2, "how many of them, from the first on, are to be said again", low=1, high=100_000
        ),
        "data.vocabulary": Setting(100, "V, different symbols", low=2, high=1_000_000),
        "data.delay": Setting(0, "blanks between the last symbol and the echo", low=0, high=100_000),
        "data.train_sequences": Setting(8000, "sequences to train on", low=1, high=10_000_000),
        "data.valid_sequences": Setting(2000, "sequences to validate on", low=1, high=10_000_000),
        "data.test_sequences": Setting(2000, "sequences to test on", low=1, high=10_000_000),
        "data.seed": seed("of the sequences"),
        "model.feed": Setting(
            "context",
            "what the decoder reads: the encoder's last output, or the symbol before",
            choices=("context", "previous"),
        ),
        **SYMBOLS,
    }
    metrics = (
        Metric("log_loss", "nats per symbol"),
        Metric("token_accuracy", higher_is_better=True),
        Metric("sequence_accuracy", higher_is_better=True),
    )
    question = Question(
        version=1,
        settings=(
            "data.length",
            "data.echo_length",
            "data.vocabulary",
            "data.delay",
            "data.train_sequences",
            "data.valid_sequences",
            "data.test_sequences",
            "data.seed",
        ),
    )

    splits: dict[str, EchoExamples]

    def __init__(self, data: Config) -> None:
        """Draw the sequences of all splits.

        Args:
            data: The section `data` of a configuration.

        Raises:
            ConfigError: There are fewer different sequences than the splits need, or the echo is longer than a
                sequence.
        """
        if data["echo_length"] > data["length"]:
            raise ConfigError(
                f"config.data.echo_length: at most config.data.length={data['length']} expected, found "
                f"{data['echo_length']}"
            )
        counts = [data[f"{split}_sequences"] for split in SPLITS]
        try:
            sequences = distinct_sequences(sum(counts), data["length"], data["vocabulary"], data["seed"])
        except ValueError as error:
            raise ConfigError(f"config.data.train_sequences, valid_sequences and test_sequences: {error}") from None

        self.symbols = tuple(map(str, range(data["vocabulary"])))
        self.splits = {}
        parts = np.split(sequences, np.cumsum(counts)[:-1])
        for split, part in zip(SPLITS, parts, strict=True):
            self.splits[split] = EchoExamples(part, data["echo_length"], data["delay"])

        sizes = ", ".join(f"{split} {examples.size:,}" for split, examples in self.splits.items())
        self.log_lines = (
            f"{data['echo_length']:,} of {data['length']:,} symbols to be echoed after {data['delay']:,} blanks; "
            f"{sizes}",
        )
        self.targets_per_example = float(data["echo_length"])
        self.model_dims = {"vocabulary": data["vocabulary"]}
        self.metadata = {
            "name": "echo",
            "checksums": {"generated": hashlib.sha256(sequences.tobytes()).hexdigest()},
        }

    @classmethod
    def from_config(cls, config: Config) -> "EchoTask":
        """Build the task from generated sequences."""
        return cls(config["data"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> Seq2Seq:
        """Build the encoder and the decoder over the vocabulary."""
        return build_seq2seq(config, dims["vocabulary"])

    def loss(self, model: Seq2Seq, batch: EchoBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the log-loss in nats, summed over all symbols to repeat."""
        nats = _log_loss(model(batch.inputs, batch.targets, key=key), batch.targets)
        return WeightedSum(nats.sum(), jnp.float32(nats.size))

    def measure(self, model: Seq2Seq, batch: EchoBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Compute the log-loss in nats, and the numbers of correct symbols and sequences of the free decoder."""
        nats = _log_loss(model(batch.inputs, batch.targets), batch.targets)
        echo_length = len(batch.targets)
        is_correct = model.write(batch.inputs, echo_length) == batch.targets
        tokens = weight.sum() * echo_length
        return {
            "log_loss": WeightedSum((nats * weight).sum(), tokens),
            "token_accuracy": WeightedSum((is_correct * weight).sum(), tokens),
            "sequence_accuracy": WeightedSum((is_correct.all(0) * weight).sum(), weight.sum()),
        }

    def sample(self, model: Seq2Seq, request: SampleRequest) -> Table:
        """Return a table of echoes: of the sequence in the prompt, or of sequences of the validation split.

        Raises:
            ConfigError: The prompt holds an unknown symbol, or fewer symbols than are to be repeated.
        """
        if request.prompt:
            return self.echo_table(model, self.parse_sequences(request.prompt))
        return self.echo_table(model, self.sample_sequences(request.count, request.seed))

    def sample_sequences(self, count: int, seed: int) -> Int[np.ndarray, "N L"]:
        """Return up to `count` different sequences of the validation split, chosen at random."""
        sequences = np.asarray(self.splits["valid"].symbols)
        count = min(count, len(sequences))
        rows = np.random.default_rng(seed).choice(len(sequences), count, replace=False)
        return sequences[rows]

    def parse_sequences(self, text: str) -> Int[np.ndarray, "1 L"]:
        """Parse one sequence that a user wrote: symbols with spaces between them.

        Raises:
            ConfigError: The text holds an unknown symbol, or fewer symbols than are to be repeated.
        """
        symbols = text.split()
        minimum = self.splits["valid"].echo_length
        unknown = [symbol for symbol in symbols if symbol not in self.symbols]

        if unknown or len(symbols) < minimum:
            description = repr(unknown[0]) if unknown else f"{len(symbols):,} of them"
            raise ConfigError(
                f"--prompt: {minimum:,} symbols or more, from {self.symbols[0]} to {self.symbols[-1]} with blanks "
                f"between them, expected, found {description}"
            )
        return np.array([[self.symbols.index(symbol) for symbol in symbols]], np.int32)

    def echo_table(self, model: Seq2Seq, sequences: Int[np.ndarray, "N L"]) -> Table:
        """Return a table of sequences: inputs, targets, the echo, and the number of correct symbols."""
        valid = self.splits["valid"]
        examples = EchoExamples(sequences, valid.echo_length, valid.delay)
        batch = examples.gather(jnp.arange(len(sequences)))

        inputs = np.asarray(batch.inputs).T
        targets = np.asarray(batch.targets).T
        echoes = np.asarray(model.write(batch.inputs, len(batch.targets))).T

        table = Table("given", "to be echoed", "echoed", "right")
        for input_row, target_row, echo_row in zip(inputs, targets, echoes, strict=True):
            correct = f"{(echo_row == target_row).sum()} of {len(target_row)}"
            table.add_row(self._to_text(input_row), self._to_text(target_row), self._to_text(echo_row), correct)
        return table

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first sequences with their targets. See `abilities.ShowsExamples`."""
        examples = self.splits[split]
        batch = examples.gather(jnp.arange(min(count, examples.size)))
        rows = zip(np.asarray(batch.inputs).T, np.asarray(batch.targets).T, strict=True)
        return [f"{self._to_text(inputs)} → {self._to_text(targets)}" for inputs, targets in rows]

    def _to_text(self, indices: Int[np.ndarray, "L"]) -> str:
        """Return a sequence as text: symbols with spaces between them, and a dot for every blank."""
        return " ".join("·" if index == BLANK else self.symbols[index] for index in indices)


def _log_loss(logits: Float[Array, "S B V"], targets: Int[Array, "S B"]) -> Float[Array, "S B"]:
    """Return the log-loss of every target in nats."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
