"""Which class a sequence has, read as a whole or in windows through which the model's memory goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.generators.synthetic import SIX, Classified, cues, events, generated
from nlstm_jax.data.sequences import ABSENT, SequenceData, encode, read_sequences
from nlstm_jax.data.splits import SPLITS
from nlstm_jax.errors import ConfigError, DataError
from nlstm_jax.tasks.base import ShuffledSampler, WeightedSum, eval_batches, reset_where, to_means
from nlstm_jax.types import AnyArray, Array, Bool, Float, Int, PRNGKeyArray


class WindowBatch(NamedTuple):
    """A window of some sequences, time-major.

    Attributes:
        symbols: their numbers; `ABSENT` past the end.
        lengths: how many symbols of each sequence the window has.
        classes: of the sequences.
        first: whether a sequence begins with this window.
        last: whether it ends in it.
    """

    symbols: Int[Array, "T B"]
    lengths: Int[Array, "B"]
    classes: Int[Array, "B"]
    first: Bool[Array, "B"]
    last: Bool[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Windows:
    """Sequences cut into windows; example n is window n % windows of sequence n // windows.

    Attributes:
        symbols: padded to whole windows.
        lengths: of the sequences.
        classes: of the sequences.
        window: T, symbols in a window.
    """

    symbols: Int[AnyArray, "N S"]
    lengths: Int[AnyArray, "N"]
    classes: Int[AnyArray, "N"]
    window: int = field(metadata={"static": True})

    @property
    def windows(self) -> int:
        """Of a sequence, the padding included."""
        return self.symbols.shape[1] // self.window

    @property
    def sequences(self) -> int:
        """How many."""
        return self.symbols.shape[0]

    @property
    def size(self) -> int:
        """Windows in all."""
        return self.sequences * self.windows

    def gather(self, indices: Int[Array, "B"]) -> WindowBatch:
        """These windows."""
        sequence, window = indices // self.windows, indices % self.windows
        begin = window * self.window
        places = begin + jnp.arange(self.window)[:, None]
        lengths = jnp.asarray(self.lengths)[sequence]
        return WindowBatch(
            jnp.asarray(self.symbols)[sequence, places],
            jnp.clip(lengths - begin, 0, self.window),
            jnp.asarray(self.classes)[sequence],
            window == 0,
            (lengths - 1) // self.window == window,
        )

    def order(self, seed: int, batch_size: int) -> "WindowSampler":
        """The windows of some sequences in turn, then those of others; a permutation of the sequences each epoch."""
        return WindowSampler(ShuffledSampler(seed, self.sequences, batch_size), self.windows)

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """All windows, or those of evenly spread sequences, `count` in all."""
        sequences = None if count is None else -(-count // self.windows)
        indices, weights = eval_batches(self.sequences, batch_size, sequences)
        return _windowed(indices, self.windows), np.repeat(weights, self.windows, axis=0)


class WindowSampler(NamedTuple):
    """Batches of sequences, each of which is as many batches of windows.

    Attributes:
        of_sequences: which sequences are read together.
        windows: of a sequence.
    """

    of_sequences: ShuffledSampler
    windows: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Batches start … stop−1.

        >>> WindowSampler(ShuffledSampler(seed=0, size=4, batch_size=2), windows=3).batches(1, 4).tolist()
        [[4, 7], [5, 8], [0, 9]]
        """
        first, end = start // self.windows, -(-stop // self.windows)
        windows = _windowed(self.of_sequences.batches(first, end), self.windows)
        return windows[start - first * self.windows : stop - first * self.windows]


class ClassifyTask:
    """Log-loss in nats per target, and the share of sequences whose class is the most probable one.

    A class is asked for at the end of every window in training, and at a sequence's end when it is measured.
    `stateful` training hands the memory on from window to window, and no gradient; otherwise every window is read by
    itself.
    With `sigmoid` outputs each class is a target of its own, to be said yes or no to (binary cross-entropy).
    See `tasks.base.Task`.

    Attributes:
        symbols, classes: their names, in the order of their numbers.
    """

    metrics = ("log_loss", "accuracy")

    def __init__(self, data: SequenceData, *, window: int = 0, stateful: bool = True, output: str = "softmax") -> None:
        """Cut the sequences.

        Args:
            data: the sequences.
            window: symbols in a window; 0: a sequence is one.
            stateful: whether the memory goes from window to window.
            output: `softmax` or `sigmoid`.
        """
        self.symbols, self.classes = data.symbols, data.classes
        self._window, self._stateful, self._sigmoid = window, stateful, output == "sigmoid"
        self.splits = {split: self._cut(*labelled) for split, labelled in data.splits.items()}
        sizes = ", ".join(f"{split} {examples.sequences:,}" for split, examples in self.splits.items())
        train = self.splits["train"]
        self.log_lines = (
            f"{len(self.symbols):,} symbols, {len(self.classes):,} classes; sequences: {sizes}; windows of "
            f"{train.window:,}",
            *data.notes,
        )
        self.targets_per_example = 1.0
        self.model_dims = {"vocabulary": len(self.symbols), "classes": len(self.classes)}
        self.metadata: dict[str, Any] = {"name": "classify", "checksums": data.checksums}

    def initial_carry(self, model: Any, batch_size: int) -> Any:
        """The cell's initial carry, where it is handed on."""
        goes_on = self._stateful and self._window > 0
        return model.cell.cell.initial_carry((batch_size,)) if goes_on else ()

    def train_loss(
        self, model: Any, batch: WindowBatch, memory: Any, key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, Any]:
        """Nats over the windows that have a symbol."""
        memory, logits = self._read(model, batch, memory, key)
        real = (batch.lengths > 0).astype(logits.dtype)
        return WeightedSum((self._nats(logits, batch.classes) * real).sum(), real.sum()), memory

    def eval_step(
        self, model: Any, batch: WindowBatch, memory: Any, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], Any]:
        """Nats and right answers at the ends of the sequences."""
        memory, logits = self._read(model, batch, memory, None)
        counted = weight * batch.last
        means = {
            "log_loss": self._nats(logits, batch.classes),
            "accuracy": (logits.argmax(-1) == batch.classes).astype(jnp.float32),
        }
        return {name: WeightedSum((values * counted).sum(), counted.sum()) for name, values in means.items()}, memory

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """The two means."""
        return to_means(totals)

    def probabilities(
        self, model: Any, sequences: Sequence[Sequence[str]], names: Sequence[str] = ()
    ) -> Float[np.ndarray, "N K"]:
        """Of the classes of new sequences; each class' own with `sigmoid` outputs.

        Args:
            model: a `Classifier`.
            sequences: their symbols.
            names: what errors call them.

        Raises:
            DataError: a sequence without symbols, or a symbol that training lacks.
        """
        known = set(self.symbols)
        for number, sequence in enumerate(sequences):
            unknown = next((symbol for symbol in sequence if symbol not in known), None)
            if not sequence or unknown is not None:
                found = "none" if unknown is None else repr(unknown)
                name = names[number] if names else f"sequence {number + 1:,}"
                some = " ".join(self.symbols[:9]) + (" …" if len(self.symbols) > 9 else "")
                raise DataError(
                    f"{name}: symbols that training has, {some}, with blanks between them expected, found {found}"
                )
        symbols, lengths = encode(sequences, self.symbols)
        examples = self._cut(symbols, lengths, np.zeros_like(lengths))

        @jax.jit
        def ends(indices: Int[Array, "n B"]) -> Float[Array, "B K"]:
            def read(state: tuple[Any, Array], window: Int[Array, "B"]) -> tuple[tuple[Any, Array], None]:
                batch = examples.gather(window)
                memory, logits = self._read(model, batch, state[0], None)
                return (memory, jnp.where(batch.last[:, None], logits, state[1])), None

            memory = self.initial_carry(model, indices.shape[1])
            start = memory, jnp.zeros((indices.shape[1], len(self.classes)))
            return jax.lax.scan(read, start, indices)[0][1]

        logits = ends(_windowed(np.arange(examples.sequences)[None], examples.windows))
        return np.asarray(jax.nn.sigmoid(logits) if self._sigmoid else jax.nn.softmax(logits))

    def _read(
        self, model: Any, batch: WindowBatch, memory: Any, key: PRNGKeyArray | None
    ) -> tuple[Any, Float[Array, "B K"]]:
        carry = None
        if jax.tree.leaves(memory):
            carry = reset_where(batch.first, self.initial_carry(model, batch.first.size), memory)
        after, logits = model(batch.symbols, batch.lengths, carry, key=key)
        return (memory if carry is None else after), logits

    def _nats(self, logits: Float[Array, "B K"], classes: Int[Array, "B"]) -> Float[Array, "B"]:
        wanted = jax.nn.one_hot(classes, logits.shape[-1])
        if self._sigmoid:
            return (jax.nn.softplus(logits) - wanted * logits).mean(-1)
        return -(jax.nn.log_softmax(logits) * wanted).sum(-1)

    def _cut(self, symbols: Int[np.ndarray, "N L"], lengths: Int[np.ndarray, "N"], classes: Any) -> Windows:
        window = self._window or symbols.shape[1]
        missing = -symbols.shape[1] % window
        padded = np.pad(symbols, ((0, 0), (0, missing)), constant_values=ABSENT)
        return Windows(padded, lengths, classes, window)


def build_classify(data: Mapping[str, Any], stateful: bool, output: str) -> ClassifyTask:
    """The task on the file that a configuration's `data` section names, or on generated sequences.

    Raises:
        DataError: see `read_sequences`.
        ConfigError: more sequences than can be generated.
    """
    sequences = read_sequences(Path(data["path"])) if data["path"] else _generate(data)
    return ClassifyTask(sequences, window=data["window"], stateful=stateful, output=output)


def _generate(data: Mapping[str, Any]) -> SequenceData:
    if data["kind"] == "six":
        symbols, classes = (np.array(part, np.int32) for part in zip(*SIX, strict=True))
        return generated({"train": Classified(symbols, classes)}, classes=4)
    counts = [data[f"{split}_sequences"] for split in SPLITS]
    draw = events if data["kind"] == "events" else cues
    try:
        drawn = draw(sum(counts), data["length"], data["classes"], data["seed"])
    except ValueError as error:
        raise ConfigError(f"config.data.length and config.data.train_sequences: {error}") from None
    ends = np.cumsum(counts)
    parts = {
        split: Classified(drawn.symbols[end - count : end], drawn.classes[end - count : end])
        for split, count, end in zip(SPLITS, counts, ends, strict=True)
    }
    return generated(parts, data["classes"])


def _windowed(sequences: Int[np.ndarray, "n B"], windows: int) -> Int[np.ndarray, "m B"]:
    """Batches of sequences as batches of their windows, in turn."""
    in_turn = sequences[:, None] * windows + np.arange(windows)[:, None]
    return in_turn.reshape(-1, sequences.shape[1]).astype(np.int32)
