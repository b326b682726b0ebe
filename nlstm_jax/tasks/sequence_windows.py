"""Windows of labeled sequences, and the batches that are made of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.tasks.base import ShuffledSampler, eval_batches
from nlstm_jax.types import AnyArray, Array, Bool, Float, Int


class WindowBatch(NamedTuple):
    """A batch of windows, one of each of several sequences, time-major.

    Attributes:
        symbols: The indices of the symbols; `ABSENT` past the end of a sequence.
        lengths: The number of symbols in each window.
        classes: The class of each sequence.
        first: True if the window is the first of its sequence.
        last: True if the window contains the last symbol of its sequence.
    """

    symbols: Int[Array, "T B"]
    lengths: Int[Array, "B"]
    classes: Int[Array, "B"]
    first: Bool[Array, "B"]
    last: Bool[Array, "B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SequenceWindows:
    """A split of sequences that are cut into windows.

    Example n is window n % W of sequence n // W, where W is `windows_per_sequence`.

    Attributes:
        symbols: The indices of the symbols, padded with `ABSENT` so that S is a multiple of `window`.
        lengths: The number of symbols in each sequence.
        classes: The class of each sequence.
        window: T, the number of symbols in a window.
    """

    symbols: Int[AnyArray, "N S"]
    lengths: Int[AnyArray, "N"]
    classes: Int[AnyArray, "N"]
    window: int = field(metadata={"static": True})

    @property
    def windows_per_sequence(self) -> int:
        """The number of windows of each sequence, including those that are only padding."""
        return self.symbols.shape[1] // self.window

    @property
    def sequences(self) -> int:
        """The number of sequences."""
        return self.symbols.shape[0]

    @property
    def size(self) -> int:
        """The number of windows of all sequences."""
        return self.sequences * self.windows_per_sequence

    def gather(self, indices: Int[Array, "B"]) -> WindowBatch:
        """Return the windows with the given indices as a batch."""
        sequence = indices // self.windows_per_sequence
        window = indices % self.windows_per_sequence
        begin = window * self.window
        positions = begin + jnp.arange(self.window)[:, None]
        lengths = jnp.asarray(self.lengths)[sequence]
        return WindowBatch(
            symbols=jnp.asarray(self.symbols)[sequence, positions],
            lengths=jnp.clip(lengths - begin, 0, self.window),
            classes=jnp.asarray(self.classes)[sequence],
            first=window == 0,
            last=(lengths - 1) // self.window == window,
        )

    def order(self, seed: int, batch_size: int) -> "WindowSampler":
        """Return a sampler that shuffles the sequences each epoch.

        The sampler gives all windows of a batch of sequences one after another, then those of the next batch.
        """
        return WindowSampler(ShuffledSampler(seed, self.sequences, batch_size), self.windows_per_sequence)

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """Return the indices and weights of all windows, or of about `count` windows, in batches.

        A given `count` is rounded up to whole sequences, which are spread evenly over the split. Windows that only
        fill a batch have weight 0.
        """
        sequence_count = None if count is None else -(-count // self.windows_per_sequence)
        indices, weights = eval_batches(self.sequences, batch_size, sequence_count)
        window_indices = expand_to_windows(indices, self.windows_per_sequence)
        window_weights = np.repeat(weights, self.windows_per_sequence, axis=0)
        return window_indices, window_weights


class WindowSampler(NamedTuple):
    """A sampler that expands each batch of sequences into the batches of their windows.

    Attributes:
        sequence_sampler: The sampler of the sequences that are read together.
        windows_per_sequence: The number of windows of a sequence.
    """

    sequence_sampler: ShuffledSampler
    windows_per_sequence: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Return the indices of the windows in the batches start … stop−1.

        >>> WindowSampler(ShuffledSampler(seed=0, size=4, batch_size=2), windows_per_sequence=3).batches(1, 4).tolist()
        [[4, 7], [5, 8], [0, 9]]
        """
        first = start // self.windows_per_sequence
        end = -(-stop // self.windows_per_sequence)
        offset = first * self.windows_per_sequence
        batches = expand_to_windows(self.sequence_sampler.batches(first, end), self.windows_per_sequence)
        return batches[start - offset : stop - offset]


def expand_to_windows(sequences: Int[np.ndarray, "n B"], windows_per_sequence: int) -> Int[np.ndarray, "m B"]:
    """Replace each batch of sequences by the batches of their windows, in order.

    Args:
        sequences: The indices of the sequences in each batch.
        windows_per_sequence: The number of windows of a sequence.
    """
    indices = sequences[:, None] * windows_per_sequence + np.arange(windows_per_sequence)[:, None]
    return indices.reshape(-1, sequences.shape[1]).astype(np.int32)
