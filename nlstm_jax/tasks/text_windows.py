"""Windows of a running text, and the batches that are made of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.types import AnyArray, Array, Bool, Float, Int


class TextBatch(NamedTuple):
    """A time-major batch with one window of every row.

    Attributes:
        tokens: The indices of the symbols to read.
        targets: The index of the symbol that follows each token.
        mask: The weights of the targets: 1 inside the text, 0 past its end.
        first: True for every row that begins with this window.
    """

    tokens: Int[Array, "T B"]
    targets: Int[Array, "T B"]
    mask: Float[Array, "T B"]
    first: Bool[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TextWindows:
    """A text that is cut into rows of equal length, and each row into windows.

    Example n is window n // rows of row n % rows. A batch of consecutive examples is therefore one window of every
    row. The windows of a row are read in their order in the text.

    Attributes:
        tokens: The indices of the symbols, one row of the text per row, padded to whole windows and one symbol more.
        length: The number of targets in a row.
        window: The number of targets in a window, T.
    """

    tokens: Int[AnyArray, "rows S"]
    length: int = field(metadata={"static": True})
    window: int = field(metadata={"static": True})

    @classmethod
    def from_text(cls, text: Int[np.ndarray, "N"], rows: int, window: int, *, drop_remainder: bool) -> "TextWindows":
        """Cut a text into rows and windows.

        Args:
            text: The indices of the symbols of the text.
            rows: The number of rows. Symbols at the end of the text that do not fill all rows are left out.
            window: The number of targets in a window.
            drop_remainder: True to leave out a last window that is shorter, as Zaremba et al. do in training.
        """
        row_length = len(text) // rows
        length = row_length - 1
        if drop_remainder:
            length = length // window * window

        windows = -(-length // window)
        tokens = text[: rows * row_length].reshape(rows, row_length)[:, : length + 1]
        padding = windows * window - length
        return cls(np.pad(tokens, ((0, 0), (0, padding))), length, window)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.tokens.shape[0]

    @property
    def windows(self) -> int:
        """The number of windows in a row."""
        return -(-self.length // self.window)

    @property
    def size(self) -> int:
        """The number of windows in all rows together."""
        return self.rows * self.windows

    def gather(self, indices: Int[Array, "B"]) -> TextBatch:
        """Return the windows with these indices as a batch."""
        window = indices // self.rows
        row = indices % self.rows
        positions = window * self.window + jnp.arange(self.window)[:, None]
        mask = (positions < self.length).astype(jnp.float32)

        tokens = jnp.asarray(self.tokens)
        return TextBatch(tokens[row, positions], tokens[row, positions + 1], mask, window == 0)

    def order(self, seed: int, batch_size: int) -> "SequentialSampler":
        """Return a sampler that reads the windows of all rows in order, epoch by epoch. The seed is not used."""
        del seed
        assert batch_size == self.rows
        return SequentialSampler(self.rows, self.windows)

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """Return the batches for an evaluation. Every batch has one window of every row, whatever `batch_size` is.

        Args:
            batch_size: A number that is ignored.
            count: The number of windows to read from the beginning, rounded up to whole batches. None means all.

        Returns:
            The indices of the windows, and their weights, which are all 1.
        """
        windows = self.windows
        if count is not None:
            windows = min(windows, -(-count // self.rows))
        batches = SequentialSampler(self.rows, self.windows).batches(0, windows)
        return batches, np.ones(batches.shape, np.float32)


class SequentialSampler(NamedTuple):
    """A sampler whose batches follow each other in a text.

    Attributes:
        rows: The number of rows of the text.
        windows: The number of windows in a row.
    """

    rows: int
    windows: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Return the window indices of the batches start … stop−1.

        >>> SequentialSampler(rows=2, windows=3).batches(1, 4).tolist()
        [[2, 3], [4, 5], [0, 1]]
        """
        windows = np.arange(start, stop) % self.windows
        return (windows[:, None] * self.rows + np.arange(self.rows)).astype(np.int32)
