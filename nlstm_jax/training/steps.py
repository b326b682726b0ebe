"""The compiled part of a run, or of several at once: many training steps a call, and the sums over a split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Parameters, merge, split
from nlstm_jax.tasks import Examples, Task, WeightedSum
from nlstm_jax.training.parallel import replicate, replicated, split_axis
from nlstm_jax.training.shards import add_shards, map_shards
from nlstm_jax.types import Array, Float, Int

TracedHparams: TypeAlias = Mapping[str, Array]
"""What runs of one program may differ in, by name: `dropout_seed`, and what the optimizer is made of."""


class TrainState(NamedTuple):
    """All that a step changes; of several runs with a leading axis M.

    Attributes:
        step: how many steps have been made.
        parameters: by name.
        optimizer: optax's state.
        memory: what the task carries from batch to batch.
    """

    step: Int[Array, "*M"]
    parameters: Parameters
    optimizer: Any
    memory: Any = ()


class StepReport(NamedTuple):
    """What the last step of a call saw: its loss with dropout on, and its gradient's norm before clipping."""

    loss: Float[Array, "*M"]
    gradient_norm: Float[Array, "*M"]


@dataclass(frozen=True, eq=False)
class CompiledSteps:
    """The functions that are compiled, over one model graph, task and optimizer.

    Attributes:
        graph: of the model.
        task: with its data.
        optimizer: makes the optimizer from a run's numbers.
        mesh: the devices: a batch is split over them, or M runs are, if they can share them evenly.
        runs: 0 for one run; M for M of them at once, and then states, numbers and batches have an axis M.
        shards: in how many parts a batch is computed.
    """

    graph: Any
    task: Task
    optimizer: Callable[[TracedHparams], optax.GradientTransformation]
    mesh: Mesh
    runs: int = 0
    shards: int = 1

    @classmethod
    def of(
        cls,
        model: Any,
        task: Task,
        optimizer: Callable[[TracedHparams], optax.GradientTransformation],
        mesh: Mesh,
        runs: int = 0,
        shards: int = 1,
    ) -> Self:
        """The program of a model."""
        return cls(split(model)[0], task, optimizer, mesh, runs, shards)

    def start(self, model: Any, numbers: TracedHparams, batch_size: int = 1) -> TrainState:
        """One run's state before the first step, on the mesh; the model keeps its own arrays.

        Args:
            model: with its initial values.
            numbers: of the run.
            batch_size: of training, for a task that has a memory.
        """
        parameters = jax.tree.map(jnp.copy, split(model)[1])
        rule, memory = self.optimizer(numbers), self.task.memory(model, batch_size)
        return replicate(TrainState(jnp.int32(0), parameters, rule.init(parameters), memory), self.mesh)

    def train(
        self,
        state: TrainState,
        numbers: TracedHparams,
        examples: Examples,
        batches: Int[np.ndarray, "n *M B"],
        size: int,
    ) -> tuple[TrainState, StepReport]:
        """One step on each of the batches, in one compiled call; `state`'s arrays are given away.

        Args:
            state: before the steps.
            numbers: of the run.
            examples: on the mesh.
            batches: which examples each batch has.
            size: the number of batches that the call is compiled for, at least n.
        """
        padded = np.zeros((size, *batches.shape[1:]), np.int32)
        padded[: len(batches)] = batches
        axis = 1 if self._runs_are_split else batches.ndim - 1
        return self._train(state, numbers, examples, split_axis(padded, self.mesh, axis), len(batches))

    def forecast_and_learn(
        self,
        state: TrainState,
        numbers: TracedHparams,
        examples: Examples,
        forecast: Int[np.ndarray, "n B"],
        learnt: Int[np.ndarray, "n B"],
    ) -> tuple[TrainState, Float[Array, "n"]]:
        """The losses of some batches, after each of which one run makes a step on another; in one compiled call.

        Args:
            state, numbers, examples: see `train`.
            forecast: whose losses are returned.
            learnt: by which a step is made; numbers below 0: by none.
        """
        return self._forecast_and_learn(state, numbers, examples, *replicate((forecast, learnt), self.mesh))

    def measure(
        self, parameters: Parameters, examples: Examples, batch_size: int, count: int | None = None
    ) -> list[dict[str, WeightedSum]]:
        """For each run the task's sums over all examples, or `count` evenly spread ones; added up in float64."""
        batches = examples.eval_batches(batch_size, count)
        # The one row of a text is no batch to be split.
        is_whole = self._runs_are_split or batches[0].shape[1] % self.mesh.size > 0
        placed = replicate(batches, self.mesh) if is_whole else split_axis(batches, self.mesh, 1)
        sums = jax.device_get(self._measure(parameters, examples, *placed))
        totals = jax.tree.map(lambda part: np.sum(part, axis=-1, dtype=np.float64), sums)
        return [jax.tree.map(lambda part, run=run: part[run], totals) for run in range(self.runs)] or [totals]

    def measure_each(self, parameters: Parameters, examples: Examples, batch_size: int) -> dict[str, WeightedSum]:
        """For one run the task's sums of every example by itself, arrays of N, in order.

        Raises:
            ConfigError: the task's examples are not independent.
        """
        batches, _ = examples.eval_batches(batch_size)
        if jax.tree.leaves(self.task.memory(merge(self.graph, parameters), 1)):
            raise ConfigError(
                "examples by themselves: independent ones expected, found windows that a memory goes through"
            )
        sums = jax.device_get(self._measure_each(parameters, examples, split_axis(batches, self.mesh, 1)))
        return jax.tree.map(lambda part: part.reshape(-1)[: examples.size], dict(sums))

    def joined(self, trees: list[Any]) -> Any:
        """What each run has as the one thing that this program takes."""
        if not self.runs:
            return replicate(trees[0], self.mesh)
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        return split_axis(together, self.mesh, 0) if self._runs_are_split else replicate(together, self.mesh)

    def parted(self, tree: Any) -> list[Any]:
        """What each run has of it."""
        if not self.runs:
            return [tree]
        return [replicate(jax.tree.map(lambda leaf, run=run: leaf[run], tree), self.mesh) for run in range(self.runs)]

    @property
    def _runs_are_split(self) -> bool:
        return self.mesh.size > 1 and self.runs > 0 and self.runs % self.mesh.size == 0

    @property
    def _shared_by(self) -> Mesh | None:
        """Devices that have a part of every batch."""
        return None if self.mesh.size == 1 or self._runs_are_split else self.mesh

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _train(
        self,
        state: TrainState,
        numbers: TracedHparams,
        examples: Examples,
        batches: Int[Array, "n *M B"],
        count: Int[Array, ""],
    ) -> tuple[TrainState, StepReport]:
        step = self._for_each_run(self._step)

        def body(number: Int[Array, ""], carry: tuple[TrainState, StepReport]) -> tuple[TrainState, StepReport]:
            return step(examples, carry[0], numbers, batches[number])

        unknown = jnp.full(state.step.shape, jnp.nan, jnp.float32)
        return jax.lax.fori_loop(0, count, body, (state, StepReport(unknown, unknown)))

    @partial(jax.jit, static_argnums=0)
    def _forecast_and_learn(
        self,
        state: TrainState,
        numbers: TracedHparams,
        examples: Examples,
        forecast: Int[Array, "n B"],
        learnt: Int[Array, "n B"],
    ) -> tuple[TrainState, Float[Array, "n"]]:
        def step(state: TrainState, batches: tuple[Array, Array]) -> tuple[TrainState, Float[Array, ""]]:
            asked, known = batches
            model = merge(self.graph, state.parameters)
            loss, _ = self.task.train_loss(model, examples.take(asked), state.memory, None)
            after = jax.lax.cond(
                known[0] >= 0, lambda: self._step(examples, state, numbers, jnp.maximum(known, 0))[0], lambda: state
            )
            return after, loss.sum / loss.weight

        return jax.lax.scan(step, state, (forecast, learnt))

    def _step(
        self, examples: Examples, state: TrainState, numbers: TracedHparams, indices: Int[Array, "B"]
    ) -> tuple[TrainState, StepReport]:
        """The loss is the sum over the targets of the whole batch, on all devices, over their number."""
        key = jax.random.fold_in(jax.random.key(numbers["dropout_seed"]), state.step)

        def loss_of(
            shared: Any, indices: Array, memory: Any, shard: Array | None = None
        ) -> tuple[tuple[WeightedSum, Parameters], Any]:
            examples, parameters, key = shared
            own = key if shard is None else jax.random.fold_in(key, shard)

            def objective(parameters: Parameters) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Any]]:
                model, batch = merge(self.graph, parameters), examples.take(indices)
                (total, weight), after = self.task.train_loss(model, batch, memory, own)
                return total, (weight, after)

            (total, (weight, after)), gradients = jax.value_and_grad(objective, has_aux=True)(parameters)
            return (WeightedSum(total, weight), gradients), after

        shared = examples, state.parameters, key
        if self.shards == 1:
            (loss, sums), memory = loss_of(shared, indices, state.memory)
        else:
            parts = self._parts(indices), self._parts(state.memory), jnp.arange(self.shards)
            stacked, memory = map_shards(loss_of, shared, parts, self._shared_by)
            (loss, sums), memory = add_shards(stacked, self._shared_by), self._whole(memory)
        # A batch without a target, such as windows past all ends, has neither a loss nor a gradient.
        loss = WeightedSum(loss.sum, jnp.where(loss.weight > 0, loss.weight, 1))
        gradients = jax.tree.map(lambda total: total / loss.weight, sums)
        updates, optimizer = self.optimizer(numbers).update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        report = StepReport(loss.sum / loss.weight, optax.tree.norm(gradients))
        return TrainState(state.step + 1, parameters, optimizer, memory), report

    @partial(jax.jit, static_argnums=0)
    def _measure(
        self, parameters: Parameters, examples: Examples, indices: Int[Array, "n B"], weights: Float[Array, "n B"]
    ) -> Mapping[str, WeightedSum]:
        def of_shard(
            shared: Any, indices: Array, weights: Array, memory: Any
        ) -> tuple[Mapping[str, WeightedSum], Any]:
            examples, parameters = shared
            return self.task.eval_step(merge(self.graph, parameters), examples.take(indices), memory, weights)

        def of_batch(shared: Any, memory: Any, batch: tuple[Array, Array]) -> tuple[Any, Mapping[str, WeightedSum]]:
            if self.shards == 1 or batch[0].size % self.shards:
                sums, memory = of_shard(shared, *batch, memory)
                return memory, sums
            parts = self._parts((*batch, memory))
            stacked, memory = map_shards(of_shard, shared, parts, self._shared_by)
            return self._whole(memory), add_shards(stacked, self._shared_by)

        def of_run(shared: tuple[Examples, Any], parameters: Parameters) -> Mapping[str, WeightedSum]:
            examples, batches = shared
            memory = self.task.memory(merge(self.graph, parameters), batches[0].shape[1])
            return jax.lax.scan(partial(of_batch, (examples, parameters)), memory, batches)[1]

        return self._for_each_run(of_run)((examples, (indices, weights)), parameters)

    @partial(jax.jit, static_argnums=0)
    def _measure_each(
        self, parameters: Parameters, examples: Examples, indices: Int[Array, "n B"]
    ) -> Mapping[str, WeightedSum]:
        model = merge(self.graph, parameters)

        def of_one(index: Int[Array, ""]) -> Mapping[str, WeightedSum]:
            return self.task.eval_step(model, examples.take(index[None]), (), jnp.ones(1))[0]

        return jax.lax.map(jax.vmap(of_one), indices)

    def _parts(self, tree: Any) -> Any:
        """A batch's arrays [B, …] as [S, B/S, …]."""
        return jax.tree.map(lambda leaf: leaf.reshape(self.shards, -1, *leaf.shape[1:]), tree)

    def _whole(self, tree: Any) -> Any:
        """The reverse, on every device."""
        whole = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
        return whole if self._shared_by is None else replicated(whole, self._shared_by)

    def _for_each_run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function(shared, *of_one)` for all runs at once."""
        if not self.runs:
            return function
        return lambda shared, *of_each: jax.vmap(partial(function, shared))(*of_each)
