"""The first symbols of a sequence said again, after all of it was read."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from nlstm_jax.data.generators.synthetic import distinct_sequences
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError
from nlstm_jax.tasks.base import ShuffledExamples, StatelessTask, WeightedSum, to_means
from nlstm_jax.types import AnyArray, Array, Float, Int, PRNGKeyArray

BLANK = -1


class EchoBatch(NamedTuple):
    """What is read and what is to be said, time-major; blanks are −1."""

    given: Int[Array, "T B"]
    targets: Int[Array, "S B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EchoExamples(ShuffledExamples):
    """Sequences of symbols.

    Attributes:
        symbols: their numbers.
        echo_length: S, how many are said again.
        delay: blanks read after the last symbol.
    """

    symbols: Int[AnyArray, "N L"]
    echo_length: int = field(metadata={"static": True})
    delay: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """Sequences."""
        return self.symbols.shape[0]

    def gather(self, indices: Int[Array, "B"]) -> EchoBatch:
        """These sequences."""
        chosen = jnp.asarray(self.symbols)[indices].T
        given = jnp.pad(chosen, ((0, self.delay), (0, 0)), constant_values=BLANK)
        return EchoBatch(given, chosen[: self.echo_length])


class EchoTask(StatelessTask):
    """Log-loss in nats per symbol, and how many symbols and whole sequences are echoed right. See `tasks.base.Task`.

    The log-loss is that of the right echo, each symbol given the right ones before it; for the accuracies the decoder
    runs freely, on what it has said itself.

    Attributes:
        symbols: of the vocabulary, in the order of their numbers.
    """

    metrics = ("log_loss", "token_accuracy", "sequence_accuracy")

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Draw the sequences.

        Args:
            data: the section of a configuration.

        Raises:
            ConfigError: more sequences than there are different ones, or a longer echo than a sequence.
        """
        if data["echo_length"] > data["length"]:
            raise ConfigError(
                f"config.data.echo_length: at most config.data.length={data['length']} expected, found "
                f"{data['echo_length']}"
            )
        counts = [data[f"{split}_sequences"] for split in SPLITS]
        try:
            drawn = distinct_sequences(sum(counts), data["length"], data["vocabulary"], data["seed"])
        except ValueError as error:
            raise ConfigError(f"config.data.train_sequences, valid_sequences and test_sequences: {error}") from None
        parts = np.split(drawn, np.cumsum(counts)[:-1])
        self.symbols = tuple(map(str, range(data["vocabulary"])))
        self.splits = {
            split: EchoExamples(part, data["echo_length"], data["delay"])
            for split, part in zip(SPLITS, parts, strict=True)
        }
        self.log_lines = (
            f"{data['echo_length']:,} of {data['length']:,} symbols to be echoed after {data['delay']:,} blanks; "
            + ", ".join(f"{split} {examples.size:,}" for split, examples in self.splits.items()),
        )
        self.targets_per_example = float(data["echo_length"])
        self.model_dims = {"vocabulary": data["vocabulary"]}
        self.metadata: dict[str, Any] = {
            "name": "echo",
            "checksums": {"generated": hashlib.sha256(drawn.tobytes()).hexdigest()},
        }

    def loss(self, model: Any, batch: EchoBatch, key: PRNGKeyArray | None) -> WeightedSum:
        """Nats over all symbols to be echoed."""
        nats = _nats(model(batch.given, batch.targets, key=key), batch.targets)
        return WeightedSum(nats.sum(), jnp.float32(nats.size))

    def measure(self, model: Any, batch: EchoBatch, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Nats, and what the decoder gets right when it runs freely."""
        nats = _nats(model(batch.given, batch.targets), batch.targets)
        right = model.write(batch.given, len(batch.targets)) == batch.targets
        tokens = weight.sum() * len(batch.targets)
        return {
            "log_loss": WeightedSum((nats * weight).sum(), tokens),
            "token_accuracy": WeightedSum((right * weight).sum(), tokens),
            "sequence_accuracy": WeightedSum((right.all(0) * weight).sum(), weight.sum()),
        }

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """The three means."""
        return to_means(totals)


def drawn(task: EchoTask, count: int, seed: int) -> Int[np.ndarray, "N L"]:
    """Sequences of the validation split, drawn by a seed."""
    symbols = np.asarray(task.splits["valid"].symbols)
    return symbols[np.random.default_rng(seed).choice(len(symbols), min(count, len(symbols)), replace=False)]


def chosen(task: EchoTask, text: str) -> Int[np.ndarray, "1 L"]:
    """A user's sequence, symbols with blanks between them.

    Raises:
        ConfigError: a symbol that is none, or fewer than are to be echoed.
    """
    symbols, least = text.split(), task.splits["valid"].echo_length
    wrong = next((symbol for symbol in symbols if symbol not in task.symbols), None)
    if wrong is not None or len(symbols) < least:
        found = f"{len(symbols):,} of them" if wrong is None else repr(wrong)
        raise ConfigError(
            f"--prompt: {least:,} symbols or more, from {task.symbols[0]} to {task.symbols[-1]} with blanks between "
            f"them, expected, found {found}"
        )
    return np.array([[task.symbols.index(symbol) for symbol in symbols]], np.int32)


def echo_table(task: EchoTask, model: Any, sequences: Int[np.ndarray, "N L"]) -> Table:
    """What is given, what the model says, and how much of it is right."""
    like = task.splits["valid"]
    batch = EchoExamples(sequences, like.echo_length, like.delay).gather(jnp.arange(len(sequences)))
    said, targets = np.asarray(model.write(batch.given, len(batch.targets))).T, np.asarray(batch.targets).T
    table = Table("given", "to be echoed", "echoed", "right")
    for given, target, echo in zip(np.asarray(batch.given).T, targets, said, strict=True):
        right = f"{(echo == target).sum()} of {len(target)}"
        table.add_row(*(_spelled(task, numbers) for numbers in (given, target, echo)), right)
    return table


def _spelled(task: EchoTask, numbers: Int[np.ndarray, "L"]) -> str:
    return " ".join("·" if number == BLANK else task.symbols[number] for number in numbers)


def _nats(logits: Float[Array, "S B V"], targets: Int[Array, "S B"]) -> Float[Array, "S B"]:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
