"""Language modelling of a running text, read in windows through which the model's memory goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.data.text import Text, cut, encode, read_text
from nlstm_jax.errors import DataError
from nlstm_jax.tasks.base import WeightedSum, reset_where, to_means
from nlstm_jax.tasks.poems import generate_poems, generator_log_loss
from nlstm_jax.types import AnyArray, Array, Bool, Float, Int, PRNGKeyArray


class TextBatch(NamedTuple):
    """A window of every row, time-major.

    Attributes:
        tokens: what is read.
        targets: the symbol after each.
        real: 1 for a target that is one, 0 past the text's end.
        first: whether a row begins with this window.
    """

    tokens: Int[Array, "T B"]
    targets: Int[Array, "T B"]
    real: Float[Array, "T B"]
    first: Bool[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """A text cut into rows of one length, and each row into windows, in which order they are read.

    Example n is window n // rows of row n % rows, so that a batch is one window of every row.

    Attributes:
        tokens: the rows, padded to whole windows and one symbol more.
        length: how many targets a row has.
        window: T, targets in a window.
    """

    tokens: Int[AnyArray, "rows S"]
    length: int = field(metadata={"static": True})
    window: int = field(metadata={"static": True})

    @classmethod
    def of(cls, text: Int[np.ndarray, "N"], rows: int, window: int, *, whole: bool) -> "Rows":
        """Cut a text.

        Args:
            text: the numbers of its symbols.
            rows: how many; what is left over at the text's end is left out.
            window: targets in a window.
            whole: leave out a last window that would be shorter, as Zaremba et al. do in training.
        """
        each = len(text) // rows
        length = (each - 1) // window * window if whole else each - 1
        windows = -(-length // window)
        cut_rows = text[: rows * each].reshape(rows, each)[:, : length + 1]
        return cls(np.pad(cut_rows, ((0, 0), (0, windows * window - length))), length, window)

    @property
    def rows(self) -> int:
        """How many."""
        return self.tokens.shape[0]

    @property
    def windows(self) -> int:
        """In a row."""
        return -(-self.length // self.window)

    @property
    def size(self) -> int:
        """Windows in all."""
        return self.rows * self.windows

    def gather(self, indices: Int[Array, "B"]) -> TextBatch:
        """These windows."""
        window, row = indices // self.rows, indices % self.rows
        places = window * self.window + jnp.arange(self.window)[:, None]
        tokens = jnp.asarray(self.tokens)
        real = (places < self.length).astype(jnp.float32)
        return TextBatch(tokens[row, places], tokens[row, places + 1], real, window == 0)

    def order(self, seed: int, batch_size: int) -> "SequentialSampler":
        """One window of every row after the other, epoch by epoch; nothing is drawn."""
        del seed
        assert batch_size == self.rows
        return SequentialSampler(self.rows, self.windows)

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """All windows, or the first, `count` in all; a batch is one of every row, whatever `batch_size` is."""
        windows = self.windows if count is None else min(self.windows, -(-count // self.rows))
        batches = SequentialSampler(self.rows, self.windows).batches(0, windows)
        return batches, np.ones(batches.shape, np.float32)


class SequentialSampler(NamedTuple):
    """Batches that follow each other in a text."""

    rows: int
    windows: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Batches start … stop−1.

        >>> SequentialSampler(rows=2, windows=3).batches(1, 4).tolist()
        [[2, 3], [4, 5], [0, 1]]
        """
        windows = np.arange(start, stop) % self.windows
        return (windows[:, None] * self.rows + np.arange(self.rows)).astype(np.int32)


class TextTask:
    """Log-loss in nats per symbol; the memory goes from window to window, and the gradient does not.

    That is truncated backpropagation through time. Training reads `rows` places of the text at once; valid and test
    are read as one row from beginning to end, so that all symbols but the very first are targets, each with all that
    stands before it. See `tasks.base.Task`.

    Attributes:
        symbols: of the vocabulary, in the order of their numbers.
        unit: what they are, `words` or `characters`.
    """

    metrics = ("log_loss", "perplexity")

    def __init__(
        self,
        text: Text,
        *,
        rows: int,
        window: int,
        unit: str = "words",
        loss_per: str = "target",
        floor: Mapping[str, Any] | None = None,
    ) -> None:
        """Cut a text.

        Args:
            text: its symbols.
            rows: of the training text, the batch size.
            window: targets in a window.
            unit: `words` or `characters`.
            loss_per: `target`: training minimises the mean over all targets; `sequence`: their sum over a window,
                its mean over the rows, as Zaremba et al. (arXiv 1409.2329) do.
            floor: by split, the log-loss below which no model can stay, where it is known.
        """
        self.symbols, self.unit = text.symbols, unit
        self._per_sequence = loss_per == "sequence"
        self.splits = {
            split: Rows.of(numbers, rows if split == "train" else 1, window, whole=split == "train")
            for split, numbers in text.splits.items()
        }
        notes = [f"vocabulary: {len(text.symbols):,} symbols"]
        for split, numbers in text.splits.items():
            unknown = f", {text.unknown[split]:,} that training lacks read as <unk>" if text.unknown[split] else ""
            notes.append(f"{split}: {len(numbers):,} symbols{unknown}")
        self.log_lines = (*notes, *text.notes)
        self.targets_per_example = float(window)
        self.model_dims = {"vocabulary": len(text.symbols)}
        self.metadata: dict[str, Any] = {"name": "text", "checksums": text.checksums}
        if floor:
            self.metadata["floor"] = dict(floor)

    def initial_carry(self, model: Any, batch_size: int) -> Any:
        """The cell's initial carry."""
        return model.cell.cell.initial_carry((batch_size,))

    def train_loss(
        self, model: Any, batch: TextBatch, memory: Any, key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, Any]:
        """Nats over the targets of a window of every row."""
        memory, nats, _ = self._read(model, batch, memory, batch.real, key)
        weight = jnp.float32(batch.first.size) if self._per_sequence else batch.real.sum()
        return WeightedSum(nats, weight), memory

    def eval_step(
        self, model: Any, batch: TextBatch, memory: Any, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], Any]:
        """Nats over the targets."""
        real = batch.real * weight
        memory, nats, _ = self._read(model, batch, memory, real, None)
        return {"log_loss": WeightedSum(nats, real.sum())}, memory

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Log-loss, and perplexity = exp(log-loss)."""
        losses = {split: means["log_loss"] for split, means in to_means(totals).items()}
        return {split: {"log_loss": loss, "perplexity": float(np.exp(loss))} for split, loss in losses.items()}

    def _read(
        self, model: Any, batch: TextBatch, memory: Any, weights: Float[Array, "T B"], key: PRNGKeyArray | None
    ) -> tuple[Any, Float[Array, ""], Float[Array, "T B"]]:
        carry = reset_where(batch.first, self.initial_carry(model, batch.first.size), memory)
        return model.log_loss(batch.tokens, batch.targets, weights, carry, key=key)


def build_text(data: Mapping[str, Any], batch_size: int, loss_per: str) -> TextTask:
    """The task on the text that a configuration's `data` section names, or on generated verse.

    Raises:
        DataError: see `read_text`; or a text too short for a window of every row.
    """
    floor = None
    if data["path"]:
        text, where = read_text(Path(data["path"]), data["unit"], data["vocabulary"]), f"text: {data['path']}"
    else:
        text, floor, where = *_generate(data), "text: generated verse"
    window = data["window"]
    for split, numbers in text.splits.items():
        rows, needed = (batch_size, window + 1) if split == "train" else (1, 2)
        if len(numbers) // rows < needed:
            raise DataError(
                f"{where}: {split}: {rows * needed:,} symbols or more for {rows} rows of {needed - 1} targets "
                f"expected, found {len(numbers):,}"
            )
    return TextTask(text, rows=batch_size, window=window, unit=data["unit"], loss_per=loss_per, floor=floor)


def _generate(data: Mapping[str, Any]) -> tuple[Text, dict[str, dict[str, float]] | None]:
    """Verse by the English grammar, line after line; of words the floor is the grammar's own log-loss."""
    parts = generate_poems(data)
    symbols = {split: cut((line for poem in part for line in poem), data["unit"]) for split, part in parts.items()}
    text = encode(symbols, data["vocabulary"])
    if data["unit"] != "words" or data["vocabulary"]:
        return text, None
    own = generator_log_loss(parts["valid"])["log_loss"]
    return text, {"valid": {"log_loss": own, "perplexity": float(np.exp(own))}}
