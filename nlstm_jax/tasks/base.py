"""What a task is: examples, a loss over a batch of them, and what is said about a whole split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.types import Array, Bool, Float, Int, PRNGKeyArray


class WeightedSum(NamedTuple):
    """A mean that has not been divided yet: a sum over targets, and how many there are."""

    sum: Float[Array, ""]
    weight: Float[Array, ""]


@runtime_checkable
class Examples(Protocol):
    """A split's arrays, whole, as a pytree that lies on the devices."""

    @property
    def size(self) -> int:
        """The number of examples."""

    def gather(self, indices: Int[Array, "B"]) -> Any:
        """The batch of these examples, time-major; traced, so that it is part of the compiled step."""

    def order(self, seed: int, batch_size: int) -> "BatchSampler":
        """Which examples make a batch when they are trained on."""

    def eval_batches(self, batch_size: int, count: int | None = None) -> tuple[Int[Any, "n B"], Float[Any, "n B"]]:
        """All examples, or `count` that stand for them, in batches, with weights: 0 for what only fills up a batch."""


class BatchSampler(Protocol):
    """Which examples make a batch: a pure function of n."""

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Batches start … stop−1."""


class ShuffledExamples(ABC):
    """Examples that know nothing of each other: shuffled for training, spread evenly where some stand for all."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of examples."""

    def order(self, seed: int, batch_size: int) -> "ShuffledSampler":
        """A permutation for each epoch."""
        return ShuffledSampler(seed, self.size, batch_size)

    def eval_batches(self, batch_size: int, count: int | None = None) -> tuple[Int[Any, "n B"], Float[Any, "n B"]]:
        """See `eval_batches`."""
        return eval_batches(self.size, batch_size, count)


@runtime_checkable
class Task(Protocol):
    """A question put to a model."""

    @property
    def splits(self) -> Mapping[str, Examples]:
        """Examples by the name of their split: `train`, `valid` and `test`, or `train` alone."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that `report` gives."""

    @property
    def targets_per_example(self) -> float:
        """On average, for tokens per second."""

    @property
    def model_dims(self) -> Mapping[str, int]:
        """What the task asks of a model, see `models.build`."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the data: name, checksums, the generator's own log-loss where there is one."""

    @property
    def log_lines(self) -> tuple[str, ...]:
        """Lines for the log."""

    def initial_carry(self, model: Any, batch_size: int) -> Any:
        """What goes from one batch into the next, before the first: arrays [B, …], or `()`."""

    def train_loss(self, model: Any, batch: Any, memory: Any, key: PRNGKeyArray | None) -> tuple[WeightedSum, Any]:
        """What training minimises, over the batch's targets, and the memory after it; `key` draws the noise."""

    def eval_step(
        self, model: Any, batch: Any, memory: Any, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], Any]:
        """Sums for `report`, each example counted `weight` times (0 for padding), and the memory after it."""

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """The metrics of every split, from its sums over all its examples; `train` is always among them."""


class StatelessTask(ABC):
    """A task whose batches know nothing of each other: it has a `loss` and a `measure` of one batch."""

    @abstractmethod
    def loss(self, model: Any, batch: Any, key: PRNGKeyArray | None) -> WeightedSum:
        """What training minimises."""

    @abstractmethod
    def measure(self, model: Any, batch: Any, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Sums for `report`."""

    def initial_carry(self, model: Any, batch_size: int) -> tuple[()]:
        """Nothing."""
        return ()

    def train_loss(
        self, model: Any, batch: Any, memory: tuple[()], key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, tuple[()]]:
        """The `loss`."""
        return self.loss(model, batch, key), memory

    def eval_step(
        self, model: Any, batch: Any, memory: tuple[()], weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], tuple[()]]:
        """What `measure` says."""
        return self.measure(model, batch, weight), memory


def to_means(totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
    """The means of every split, by name."""
    return {
        split: {name: float(total.sum / total.weight) for name, total in sums.items()}
        for split, sums in totals.items()
    }


def reset_where(first: Bool[Array, "B"], fresh: Any, memory: Any) -> Any:
    """The memory [B, …], with a fresh one in its place where a sequence begins."""

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(first.reshape(-1, *[1] * (new.ndim - 1)), new, old.astype(new.dtype))

    return jax.tree.map(chosen, fresh, memory)


class ShuffledSampler(NamedTuple):
    """A permutation of all examples an epoch: a pure function of (seed, n)."""

    seed: int
    size: int
    batch_size: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Batches start … stop−1.

        Batch n holds the positions nB … (n+1)B−1 of an endless line of permutations of all examples, one an epoch:
        every batch is full, and every example is seen equally often.

        >>> ShuffledSampler(seed=0, size=4, batch_size=3).batches(0, 4).reshape(3, 4).tolist()
        [[1, 2, 0, 3], [0, 3, 1, 2], [1, 2, 3, 0]]
        """
        positions = np.arange(start * self.batch_size, stop * self.batch_size)
        epochs, places = np.divmod(positions, self.size)
        indices = np.empty(positions.size, np.int32)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = self._permutation(int(epoch))[places[here]]
        return indices.reshape(stop - start, self.batch_size)

    def _permutation(self, epoch: int) -> Int[np.ndarray, "size"]:
        return np.random.Generator(np.random.Philox(key=(self.seed, epoch))).permutation(self.size)


def eval_batches(
    size: int, batch_size: int, count: int | None = None
) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
    """All examples, or `count` evenly spread ones, in batches; the last is filled up with examples of weight 0.

    >>> eval_batches(3, 2)[1].tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    >>> eval_batches(9, 3, count=3)[0].tolist()
    [[0, 3, 6]]
    """
    count = size if count is None else min(count, size)
    batches = -(-count // batch_size)
    places = np.arange(batches * batch_size).reshape(batches, batch_size)
    real = places < count
    return np.where(real, places * size // count, 0).astype(np.int32), real.astype(np.float32)
