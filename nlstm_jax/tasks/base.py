"""The interface of a task: its declarations, its examples, its model, its loss of a batch, its metrics of a split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.settings import Metric, Question, Setting
from nlstm_jax.tasks.sums import WeightedSum, check_sum, check_sums, to_means
from nlstm_jax.types import Array, Bool, Config, Float, Int, JsonObject, PRNGKeyArray, PyTree

ModelT = TypeVar("ModelT")
"""The type of the model, a Flax NNX module."""

Tree = TypeVar("Tree")

BatchT = TypeVar("BatchT")
"""The type of a batch, a pytree of arrays."""

CarryT = TypeVar("CarryT")
"""The type of what passes from batch to batch, a pytree of arrays [B, …]."""


@runtime_checkable
class Examples(Protocol):
    """All examples of a split: a pytree of arrays that is kept on the devices."""

    @property
    def size(self) -> int:
        """The number of examples."""

    def gather(self, indices: Int[Array, "B"]) -> PyTree:
        """Return a time-major batch of the examples with these indices. It is traced as part of the compiled step."""

    def order(self, seed: int, batch_size: int) -> "BatchSampler":
        """Return the sampler that decides which examples make up each batch in training."""

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """Return the batches for an evaluation.

        Args:
            batch_size: The number of examples in a batch, B.
            count: The number of examples that represent the split. None means all examples.

        Returns:
            The indices of the examples, and their weights. The weight is 0 for an example that only fills up a batch.
        """


class BatchSampler(Protocol):
    """A rule that decides which examples make up each batch: a pure function of the batch's index n."""

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Return the example indices of the batches start … stop−1."""


class ShuffledExamples(ABC):
    """Examples that are independent of each other.

    They are shuffled for training. A part that represents all of them is spread evenly.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of examples."""

    def order(self, seed: int, batch_size: int) -> "ShuffledSampler":
        """Return a sampler with a new permutation for each epoch."""
        return ShuffledSampler(seed, self.size, batch_size)

    def eval_batches(
        self, batch_size: int, count: int | None = None
    ) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
        """Return the batches for an evaluation. See the function `eval_batches`."""
        return eval_batches(self.size, batch_size, count)


class Task(ABC, Generic[ModelT, BatchT, CarryT]):
    """A learning problem: the examples of each split, a model, a loss to minimize, and metrics to report.

    A subclass declares the first three attributes, and its instances have the others.

    Attributes:
        settings: The settings that the task has besides the common ones, by dotted name.
        metrics: The metrics that `report` returns.
        question: The settings that decide which examples are evaluated.
        splits: The examples of each split, by name: `train`, `valid` and `test`, or `train` alone.
        targets_per_example: The average number of targets in an example. The tokens per second are computed from it.
        model_dims: The dimensions that the data require of a model, such as the number of symbols.
        metadata: The facts about the data: name, checksums, and the generator's own log-loss where it is known.
        log_lines: The lines that describe the data in the log.
        evaluates_all_of_train: True if the metrics of a split depend on all training examples, and not only on the
            `eval.train_examples` that stand for them.
    """

    settings: ClassVar[Mapping[str, Setting]]
    metrics: ClassVar[tuple[Metric, ...]]
    question: ClassVar[Question]

    splits: Mapping[str, Examples]
    targets_per_example: float = 1.0
    model_dims: Mapping[str, int]
    metadata: JsonObject
    log_lines: tuple[str, ...] = ()
    evaluates_all_of_train: bool = False

    @classmethod
    @abstractmethod
    def from_config(cls, config: Config) -> "Task[ModelT, BatchT, CarryT]":
        """Load or generate the data of a configuration, and return the task with its splits.

        Raises:
            DataError: The data are missing or not of their form.
            ConfigError: Some settings contradict each other.
        """

    @staticmethod
    @abstractmethod
    def build_model(config: Config, dims: Mapping[str, int]) -> ModelT:
        """Build the model with its initial values, drawn from `config.seeds.init`.

        Args:
            config: The configuration, whose widths are known.
            dims: The dimensions `model_dims` of the task.

        Returns:
            A Flax NNX module, whose recurrent layers are `adapters.nnx.Recurrent`.
        """

    @abstractmethod
    def initial_carry(self, model: ModelT, batch_size: int) -> CarryT:
        """Return the carry before the first batch: arrays [B, …], or `()` if batches are independent."""

    @abstractmethod
    def train_loss(
        self, model: ModelT, batch: BatchT, carry: CarryT, key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, CarryT]:
        """Compute the training loss of a batch.

        Args:
            model: The model.
            batch: The batch, as returned by `Examples.gather`.
            carry: The carry after the previous batch.
            key: The random key of the noise. None means no noise.

        Returns:
            The loss, summed over the batch's targets, and the carry after the batch.
        """

    @abstractmethod
    def eval_step(
        self, model: ModelT, batch: BatchT, carry: CarryT, weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], CarryT]:
        """Compute the sums of a batch that `report` needs.

        Args:
            model: The model.
            batch: The batch, as returned by `Examples.gather`.
            carry: The carry after the previous batch.
            weight: The weight of each example, 0 for padding.

        Returns:
            The sums by name, and the carry after the batch.
        """

    def report(self, totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
        """Return the metrics of every split, from its sums over all its examples. The default is the mean of each sum.

        Args:
            totals: The sums by split and name. `train` is always among the splits.
        """
        return to_means(totals)


AnyTask: TypeAlias = Task[Any, Any, Any]
"""A task with batches and carries of any type."""


class StatelessTask(Task[ModelT, BatchT, tuple[()]]):
    """A task whose batches are independent. A subclass defines `loss` and `measure` of a single batch."""

    @abstractmethod
    def loss(self, model: ModelT, batch: BatchT, key: PRNGKeyArray | None) -> WeightedSum:
        """Compute the training loss of a batch, summed over its targets. `key` is the random key of the noise."""

    @abstractmethod
    def measure(self, model: ModelT, batch: BatchT, weight: Float[Array, "B"]) -> dict[str, WeightedSum]:
        """Compute the sums of a batch that `report` needs. `weight` is the weight of each example."""

    def initial_carry(self, model: ModelT, batch_size: int) -> tuple[()]:
        """Return an empty carry."""
        return ()

    def train_loss(
        self, model: ModelT, batch: BatchT, carry: tuple[()], key: PRNGKeyArray | None
    ) -> tuple[WeightedSum, tuple[()]]:
        """Compute `loss`, check its type, and return it with the empty carry."""
        loss = check_sum(f"{type(self).__name__}.loss", self.loss(model, batch, key))
        return loss, carry

    def eval_step(
        self, model: ModelT, batch: BatchT, carry: tuple[()], weight: Float[Array, "B"]
    ) -> tuple[dict[str, WeightedSum], tuple[()]]:
        """Compute the sums of `measure`, check their types, and return them with the empty carry."""
        sums = check_sums(f"{type(self).__name__}.measure", self.measure(model, batch, weight))
        return sums, carry


def reset_where(first: Bool[Array, "B"], fresh: Tree, carry: Tree) -> Tree:
    """Replace the carry by a fresh one for every sequence that begins.

    Args:
        first: True for every sequence of the batch that begins.
        fresh: The initial carry, a pytree of arrays [B, …].
        carry: The carry after the previous batch, a pytree of the same structure.

    Returns:
        The carry, with the dtypes of `fresh`.
    """

    def select(new: Array, old: Array) -> Array:
        trailing_axes = [1] * (new.ndim - 1)
        return jnp.where(first.reshape(-1, *trailing_axes), new, old.astype(new.dtype))

    return jax.tree.map(select, fresh, carry)


class ShuffledSampler(NamedTuple):
    """A sampler with one permutation of all examples per epoch: a pure function of (seed, n).

    Attributes:
        seed: The seed of the permutations.
        size: The number of examples.
        batch_size: The number of examples in a batch, B.
    """

    seed: int
    size: int
    batch_size: int

    def batches(self, start: int, stop: int) -> Int[np.ndarray, "n B"]:
        """Return the example indices of the batches start … stop−1.

        The permutations of all epochs follow each other in one endless sequence. Batch n holds the positions
        nB … (n+1)B−1 of it. Every batch is therefore full, and every example occurs once per epoch.

        >>> ShuffledSampler(seed=0, size=4, batch_size=3).batches(0, 4).reshape(3, 4).tolist()
        [[1, 2, 0, 3], [0, 3, 1, 2], [1, 2, 3, 0]]
        """
        positions = np.arange(start * self.batch_size, stop * self.batch_size)
        epochs, positions_in_epoch = np.divmod(positions, self.size)

        indices = np.empty(positions.size, np.int32)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            indices[in_epoch] = self._permutation(int(epoch))[positions_in_epoch[in_epoch]]
        return indices.reshape(stop - start, self.batch_size)

    def _permutation(self, epoch: int) -> Int[np.ndarray, "size"]:
        """Return the order of the examples in an epoch."""
        generator = np.random.Generator(np.random.Philox(key=(self.seed, epoch)))
        return generator.permutation(self.size)


def eval_batches(
    size: int, batch_size: int, count: int | None = None
) -> tuple[Int[np.ndarray, "n B"], Float[np.ndarray, "n B"]]:
    """Return batches of all examples, or of `count` examples that are spread evenly.

    The last batch is filled up with examples of weight 0.

    Args:
        size: The number of examples.
        batch_size: The number of examples in a batch, B.
        count: The number of examples to take. None, or more than `size`, means all of them.

    Returns:
        The indices of the examples, and their weights, 1 or 0.

    >>> eval_batches(3, 2)[1].tolist()
    [[1.0, 1.0], [1.0, 0.0]]
    >>> eval_batches(9, 3, count=3)[0].tolist()
    [[0, 3, 6]]
    """
    count = size if count is None else min(count, size)
    batch_count = -(-count // batch_size)
    positions = np.arange(batch_count * batch_size).reshape(batch_count, batch_size)
    mask = positions < count
    indices = np.where(mask, positions * size // count, 0)
    return indices.astype(np.int32), mask.astype(np.float32)
