"""The classification task: predict the class of a sequence.

A sequence is read as a whole, or in windows. With windows, the carry of the model can pass from one to the next.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.synthetic import SIX, Classified, cues, events, generated
from nlstm_jax.data.sequences import ABSENT, SequenceData, encode, read_sequences
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.models import Classifier, build_classifier
from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.settings.models import SYMBOLS
from nlstm_jax.settings.setting import rate, seed
from nlstm_jax.tasks.base import Task, reset_where
from nlstm_jax.tasks.sequence_windows import SequenceWindows, WindowBatch, expand_to_windows
from nlstm_jax.tasks.sums import WeightedSum
from nlstm_jax.types import Array, Carry, Config, Float, Int, PRNGKeyArray
from nlstm_jax.wording import count_of


class ClassifyTask(Task[Classifier, WindowBatch, Carry]):
    """A task that predicts the class of a sequence. See `tasks.base.Task`.

    The metrics are the log-loss in nats per target, and the share of sequences whose class is the most probable one.
    Training predicts the class at the end of every window. Evaluation predicts it at the end of the sequence.

    With `stateful`, the carry passes from one window to the next, but no gradient does. Otherwise each window is read
    independently. With `sigmoid` outputs, each class is a binary target of its own (binary cross-entropy).

    Attributes:
        symbols: The names of the symbols, in the order of their indices.
        classes: The names of the classes, in the order of their indices.
        splits: The windows of each split.
    """

    settings: ClassVar = {
        "data.path": Setting("", "a CSV file with the columns sequence, class and perhaps split; empty: generated"),
        "data.kind": Setting(
            "events",
            "generated: a symbol that comes twice in a row, a cue to remember, the six",
            choices=("events", "cue", "six"),
        ),
        "data.length": Setting(12, "generated: symbols in a sequence", low=2, high=100_000),
        "data.classes": Setting(4, "generated: K, classes and symbols", low=2, high=10_000),
        "data.train_sequences": Setting(4000, "generated: sequences to train on", low=1, high=10_000_000),
        "data.valid_sequences": Setting(1000, "generated: sequences to validate on", low=1, high=10_000_000),
        "data.test_sequences": Setting(1000, "generated: sequences to test on", low=1, high=10_000_000),
        "data.window": Setting(
            0, "T, symbols that are read at once and the gradient goes through; 0: all", low=0, high=100_000
        ),
        "data.seed": seed("generated: of the sequences"),
        "train.stateful": Setting(True, "the carry goes from a sequence's window to its next one"),
        "model.output": Setting(
            "softmax", "one class of all, or yes or no for each (binary cross-entropy)", choices=("softmax", "sigmoid")
        ),
        "model.dropout_output": rate(0.0, "rate on the cell's last output"),
        **SYMBOLS,
    }
    metrics = (Metric("log_loss", "nats per sequence"), Metric("accuracy", higher_is_better=True))
    question = Question(
        version=1,
        settings=("model.output",),
        generated=(
            "data.kind",
            "data.length",
            "data.classes",
            "data.train_sequences",
            "data.valid_sequences",
            "data.test_sequences",
            "data.seed",
        ),
    )

    splits: dict[str, SequenceWindows]

    def __init__(self, data: SequenceData, *, window: int = 0, stateful: bool = True, output: str = "softmax") -> None:
        """Cut the sequences into windows.

        Args:
            data: The sequences of all splits.
            window: The number of symbols in a window. With 0, each sequence is a single window.
            stateful: True if the carry passes from one window to the next.
            output: The output layer, `softmax` or `sigmoid`.
        """
        self.symbols = data.symbols
        self.classes = data.classes
        self._window = window
        self._stateful = stateful
        self._sigmoid = output == "sigmoid"
        self.splits = {split: self._cut_windows(*labeled) for split, labeled in data.splits.items()}

        sizes = ", ".join(f"{split} {windows.sequences:,}" for split, windows in self.splits.items())
        train = self.splits["train"]
        self.log_lines = (
            f"{count_of(len(self.symbols), 'symbol')}, {len(self.classes):,} classes; sequences: {sizes}; windows of "
            f"{train.window:,}",
            *data.notes,
        )
        self.targets_per_example = 1.0
        self.model_dims = {"vocabulary": len(self.symbols), "classes": len(self.classes)}
        self.metadata = {"name": "classify", "checksums": data.checksums}

    @classmethod
    def from_config(cls, config: Config) -> "ClassifyTask":
        """Build the task from the file `data.path`, or from generated sequences if the path is empty.

        Raises:
            DataError: See `read_sequences`.
            ConfigError: More sequences are required than can be generated.
        """
        data = config["data"]
        sequences = read_sequences(Path(data["path"]).expanduser()) if data["path"] else _generate(data)
        stateful = config["train"]["stateful"]
        return cls(sequences, window=data["window"], stateful=stateful, output=config["model"]["output"])

    @staticmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> Classifier:
        """Build the classifier over the symbols and classes of the data."""
        return build_classifier(config, dims["vocabulary"], dims["classes"])

    def initial_carry(self, model: Classifier, batch_size: int) -> Carry:
        """Return the initial carry of the cell, or `()` if no carry passes between windows."""
        if self._stateful and self._window > 0:
            return model.cell.cell.initial_carry((batch_size,))
        return ()

    def train_loss(
        self, model: Classifier, batch: WindowBatch, carry: Carry, key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, Carry]:
        """Return the sum of nats over the windows that have a symbol, and the next carry."""
        carry, logits = self._read_windows(model, batch, carry, key)
        mask = (batch.lengths > 0).astype(logits.dtype)
        nats = self._compute_nats(logits, batch.classes)
        return WeightedSum((nats * mask).sum(), mask.sum()), carry

    def eval_step(
        self, model: Classifier, batch: WindowBatch, carry: Carry, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], Carry]:
        """Return the sums of nats and of correct predictions at the ends of the sequences, and the next carry."""
        carry, logits = self._read_windows(model, batch, carry, None)
        end_weight = weight * batch.last
        metrics = {
            "log_loss": self._compute_nats(logits, batch.classes),
            "accuracy": (logits.argmax(-1) == batch.classes).astype(jnp.float32),
        }
        sums = {name: WeightedSum((values * end_weight).sum(), end_weight.sum()) for name, values in metrics.items()}
        return sums, carry

    def probabilities(
        self, model: Classifier, sequences: Sequence[Sequence[str]], names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N K"]:
        """Return the probability of each class for new sequences.

        With `sigmoid` outputs, the probabilities of the classes are independent and do not add up to 1.

        Args:
            model: A trained `Classifier`.
            sequences: The symbols of each sequence.
            names: The name of each sequence in error messages. The default is its number, from 1.

        Raises:
            DataError: A sequence has no symbols, or a symbol that the training data lack.
        """
        self._check_symbols(sequences, names)
        symbols, lengths = encode(sequences, self.symbols)
        windows = self._cut_windows(symbols, lengths, np.zeros_like(lengths))

        @jax.jit
        def compute_final_logits(batches: Int[Array, "n B"]) -> Float[Array, "B K"]:
            """Read all windows in order, and return the logits at the end of each sequence."""

            def read_batch(state: tuple[Carry, Array], indices: Int[Array, "B"]) -> tuple[tuple[Carry, Array], None]:
                carry, final_logits = state
                batch = windows.gather(indices)
                carry, logits = self._read_windows(model, batch, carry, None)
                return (carry, jnp.where(batch.last[:, None], logits, final_logits)), None

            carry = self.initial_carry(model, batches.shape[1])
            no_logits = jnp.zeros((batches.shape[1], len(self.classes)))
            (_, final_logits), _ = jax.lax.scan(read_batch, (carry, no_logits), batches)
            return final_logits

        all_sequences = np.arange(windows.sequences)[None]
        logits = compute_final_logits(expand_to_windows(all_sequences, windows.windows_per_sequence))
        if self._sigmoid:
            return np.asarray(jax.nn.sigmoid(logits))
        return np.asarray(jax.nn.softmax(logits))

    def predict(
        self, model: Classifier, inputs: Sequence[str] | None = None, names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N K"]:
        """Return `probabilities` of sequences that are written as symbols with blanks between them.

        Raises:
            ConfigError: There are no sequences.
            DataError: See `probabilities`.
        """
        if not inputs:
            raise ConfigError("predict: sequences expected, each as symbols with blanks between them, found none")
        return self.probabilities(model, [sequence.split() for sequence in inputs], names)

    def example_lines(self, split: str, count: int) -> list[str]:
        """Return the first sequences as symbols and class. See `abilities.ShowsExamples`."""
        windows = self.splits[split]
        lines = []
        for symbols, length, label in zip(windows.symbols, windows.lengths, windows.classes, strict=True):
            names = " ".join(self.symbols[symbol] for symbol in symbols[:length])
            lines.append(f"{names} → {self.classes[label]}")
            if len(lines) == count:
                break
        return lines

    def _check_symbols(self, sequences: Sequence[Sequence[str]], names: Sequence[str]) -> None:
        """Check that each sequence has symbols, and only those of the training data.

        Raises:
            DataError: A sequence has no symbols, or an unknown one.
        """
        known = set(self.symbols)
        for index, sequence in enumerate(sequences):
            unknown = next((symbol for symbol in sequence if symbol not in known), None)
            if sequence and unknown is None:
                continue

            value = "none" if unknown is None else repr(unknown)
            name = names[index] if names else f"sequence {index + 1:,}"
            examples = " ".join(self.symbols[:9])
            if len(self.symbols) > 9:
                examples += " …"
            raise DataError(
                f"{name}: symbols that training has, {examples}, with blanks between them expected, found {value}"
            )

    def _read_windows(
        self, model: Classifier, batch: WindowBatch, carry: Carry, key: PRNGKeyArray | None
    ) -> tuple[Carry, Float[Array, "B K"]]:
        """Run the model over a batch of windows.

        The carry is reset where a sequence begins. If it is `()`, each window starts from the initial carry.

        Returns:
            The next carry, or `()`.
            The logits at the end of each window.
        """
        if not jax.tree.leaves(carry):
            _, logits = model(batch.symbols, batch.lengths, None, key=key)
            return carry, logits

        carry = reset_where(batch.first, self.initial_carry(model, batch.first.size), carry)
        next_carry, logits = model(batch.symbols, batch.lengths, carry, key=key)
        return next_carry, logits

    def _compute_nats(self, logits: Float[Array, "B K"], classes: Int[Array, "B"]) -> Float[Array, "B"]:
        """Return the cross-entropy of each example in nats. With `sigmoid` outputs, it is the mean over classes."""
        expected = jax.nn.one_hot(classes, logits.shape[-1])
        if self._sigmoid:
            return (jax.nn.softplus(logits) - expected * logits).mean(-1)
        return -(jax.nn.log_softmax(logits) * expected).sum(-1)

    def _cut_windows(
        self, symbols: Int[np.ndarray, "N L"], lengths: Int[np.ndarray, "N"], classes: Int[np.ndarray, "N"]
    ) -> SequenceWindows:
        """Pad the sequences to a multiple of the window, and return their windows."""
        window = self._window or symbols.shape[1]
        missing = -symbols.shape[1] % window
        padded = np.pad(symbols, ((0, 0), (0, missing)), constant_values=ABSENT)
        return SequenceWindows(padded, lengths, classes, window)


def _generate(data: Config) -> SequenceData:
    """Generate the sequences of the kind `six`, `events` or `cue`.

    The kind `six` has a training split only.

    Raises:
        ConfigError: More sequences are required than can be generated.
    """
    if data["kind"] == "six":
        symbols, classes = zip(*SIX, strict=True)
        train = Classified(np.array(symbols, np.int32), np.array(classes, np.int32))
        return generated({"train": train}, classes=4)

    counts = [data[f"{split}_sequences"] for split in SPLITS]
    generate = events if data["kind"] == "events" else cues
    try:
        sequences = generate(sum(counts), data["length"], data["classes"], data["seed"])
    except ValueError as error:
        raise ConfigError(f"config.data.length and config.data.train_sequences: {error}") from None

    splits = {}
    begin = 0
    for split, count in zip(SPLITS, counts, strict=True):
        end = begin + count
        splits[split] = Classified(sequences.symbols[begin:end], sequences.classes[begin:end])
        begin = end
    return generated(splits, data["classes"])
