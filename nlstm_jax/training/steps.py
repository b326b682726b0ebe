"""The compiled part of training: many steps in one call, and the sums of the metrics over a split.

Everything here is a pure function of arrays; one program serves a single run, or several runs at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Parameters, merge, split
from nlstm_jax.tasks import AnyTask, Examples, WeightedSum
from nlstm_jax.tasks.sums import check_loss_and_carry, check_sums_and_carry
from nlstm_jax.training.nonfinite import NonfiniteSteps, SkippedUpdates
from nlstm_jax.training.optimizer import TracedHparams
from nlstm_jax.training.parallel import constrain_replicated, replicate, split_axis
from nlstm_jax.training.shards import add_shards, map_shards
from nlstm_jax.types import Array, Bool, Float, Int, PyTree

Result = TypeVar("Result")
Tree = TypeVar("Tree")
Shared: TypeAlias = tuple[Examples, Parameters]
"""The examples and the parameters, which all shards of a batch have in common."""
Sums: TypeAlias = Mapping[str, WeightedSum]
"""The sums that a task's metrics are made of, by name."""


class TrainState(NamedTuple):
    """Everything that a training step changes; of M runs at once every array has a leading axis M.

    Attributes:
        step: The number of steps made.
        parameters: The parameters of the model, by name.
        optimizer: The state of the optimizer.
        carry: The carry that the task takes from batch to batch; `()` if its batches are independent.
        skipped: The updates that were skipped, where a program skips any; otherwise `()`.
    """

    step: Int[Array, "*M"]
    parameters: Parameters
    optimizer: optax.OptState
    carry: PyTree = ()
    skipped: PyTree = ()


class StepReport(NamedTuple):
    """The report of the steps of one call.

    Attributes:
        loss: The loss of the last step, with dropout on.
        gradient_norm: The norm of its gradient before clipping.
        nonfinite: The bad steps of the call.
    """

    loss: Float[Array, "*M"]
    gradient_norm: Float[Array, "*M"]
    nonfinite: NonfiniteSteps


@dataclass(frozen=True, eq=False)
class CompiledSteps:
    """The compiled functions over one model graph, task and optimizer.

    Attributes:
        graph: The graph of the model.
        task: The task, with its data.
        optimizer: The maker of the optimizer from a run's numbers.
        mesh: The devices. A batch is split over them; or M runs are, if the devices can share them evenly.
        runs: 0 for a single run; M for M runs at once, whose states, numbers and batches have an axis M.
        shards: The number of parts in which a batch is computed.
        skip_limit: 0 if the first step that is not finite ends a run. Otherwise such updates are skipped, and this
            many in a row end the run.
    """

    graph: nnx.GraphDef[nnx.Module]
    task: AnyTask
    optimizer: Callable[[TracedHparams], optax.GradientTransformation]
    mesh: Mesh
    runs: int = 0
    shards: int = 1
    skip_limit: int = 0

    @classmethod
    def from_model(
        cls,
        model: nnx.Module,
        task: AnyTask,
        optimizer: Callable[[TracedHparams], optax.GradientTransformation],
        mesh: Mesh,
        runs: int = 0,
        shards: int = 1,
        skip_limit: int = 0,
    ) -> Self:
        """Make the functions around a model, whose values do not matter."""
        graph, _ = split(model)
        return cls(graph, task, optimizer, mesh, runs, shards, skip_limit)

    def init_state(self, model: nnx.Module, hparams: TracedHparams, batch_size: int = 1) -> TrainState:
        """Return the state of one run before its first step, on the mesh; the model keeps its own arrays.

        Args:
            model: The model with its initial values.
            hparams: The numbers of the run.
            batch_size: The batch size of training, for a task that has a carry.
        """
        _, parameters = split(model)
        parameters = jax.tree.map(jnp.copy, parameters)
        optimizer_state = self.optimizer(hparams).init(parameters)
        carry = self.task.initial_carry(model, batch_size)
        skipped = SkippedUpdates.none() if self.skip_limit else ()
        return replicate(TrainState(jnp.int32(0), parameters, optimizer_state, carry, skipped), self.mesh)

    def train(
        self,
        state: TrainState,
        hparams: TracedHparams,
        examples: Examples,
        batches: Int[np.ndarray, "n *M B"],
        size: int,
    ) -> tuple[TrainState, StepReport]:
        """Make one step on each of the batches, in one compiled call; the arrays of `state` are given away.

        Args:
            state: The state before the steps.
            hparams: The numbers of the run.
            examples: The training examples, on the mesh.
            batches: The indices of each batch's examples.
            size: The number of batches that the call is compiled for, at least n.
        """
        padded = np.zeros((size, *batches.shape[1:]), np.int32)
        padded[: len(batches)] = batches
        axis = 1 if self._runs_are_split else batches.ndim - 1
        return self._train(state, hparams, examples, split_axis(padded, self.mesh, axis), len(batches))

    def forecast_and_learn(
        self,
        state: TrainState,
        hparams: TracedHparams,
        examples: Examples,
        forecast: Int[np.ndarray, "n B"],
        learned: Int[np.ndarray, "n B"],
    ) -> tuple[TrainState, Float[Array, "n"]]:
        """Return the losses of n batches, after each of which one run makes a step on another; in one compiled call.

        Args:
            state, hparams, examples: See `train`.
            forecast: The batches whose losses are returned.
            learned: The batches by which a step is made; indices below 0 make none.
        """
        return self._forecast_and_learn(state, hparams, examples, *replicate((forecast, learned), self.mesh))

    def eval_sums(
        self, parameters: Parameters, examples: Examples, batch_size: int, count: int | None = None
    ) -> list[dict[str, WeightedSum]]:
        """Return, for each run, the task's sums over all examples; added up in float64.

        Args:
            parameters: The parameters of the runs.
            examples: The examples, on the mesh.
            batch_size: The number of examples at once.
            count: The number of evenly spread examples that stand for all; None: all.
        """
        batches = examples.eval_batches(batch_size, count)
        # The single row of a text cannot be split over devices.
        is_splittable = not self._runs_are_split and batches[0].shape[1] % self.mesh.size == 0
        indices, weights = split_axis(batches, self.mesh, 1) if is_splittable else replicate(batches, self.mesh)
        sums = jax.device_get(self._eval_sums(parameters, examples, indices, weights))
        totals = jax.tree.map(lambda part: np.sum(part, axis=-1, dtype=np.float64), sums)
        if not self.runs:
            return [totals]
        return [_index(totals, run) for run in range(self.runs)]

    def per_example_sums(self, parameters: Parameters, examples: Examples, batch_size: int) -> dict[str, WeightedSum]:
        """Return, for one run, the task's sums of every example by itself: arrays [N], in order.

        Raises:
            ConfigError: the task's examples are not independent.
        """
        batches, _ = examples.eval_batches(batch_size)
        if jax.tree.leaves(self.task.initial_carry(merge(self.graph, parameters), 1)):
            raise ConfigError(
                "examples by themselves: independent ones expected, found windows that a carry goes through"
            )
        sums = jax.device_get(self._per_example_sums(parameters, examples, split_axis(batches, self.mesh, 1)))
        return jax.tree.map(lambda part: part.reshape(-1)[: examples.size], dict(sums))

    def stack_runs(self, trees: Sequence[Tree]) -> Tree:
        """Stack per-run pytrees along a new leading axis; the pytree of a single run is only put on the mesh."""
        if not self.runs:
            return replicate(trees[0], self.mesh)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        return split_axis(stacked, self.mesh, 0) if self._runs_are_split else replicate(stacked, self.mesh)

    def unstack_runs(self, tree: Tree) -> list[Tree]:
        """Return the pytree of each run; the reverse of `stack_runs`."""
        if not self.runs:
            return [tree]
        return [replicate(_index(tree, run), self.mesh) for run in range(self.runs)]

    @property
    def _runs_are_split(self) -> bool:
        """True if devices share the runs, not the batches."""
        return self.mesh.size > 1 and self.runs > 0 and self.runs % self.mesh.size == 0

    @property
    def _batch_mesh(self) -> Mesh | None:
        """The devices of which each has a part of every batch; None where one has all of it."""
        return None if self.mesh.size == 1 or self._runs_are_split else self.mesh

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _train(
        self,
        state: TrainState,
        hparams: TracedHparams,
        examples: Examples,
        batches: Int[Array, "n *M B"],
        count: Int[Array, ""],
    ) -> tuple[TrainState, StepReport]:
        step = self._for_each_run(self._step)

        def body(index: Int[Array, ""], carry: tuple[TrainState, StepReport]) -> tuple[TrainState, StepReport]:
            state, earlier = carry
            state, report = step(examples, state, hparams, batches[index])
            return state, report._replace(nonfinite=earlier.nonfinite.first(report.nonfinite))

        unknown = jnp.full(state.step.shape, jnp.nan, jnp.float32)
        report = StepReport(unknown, unknown, NonfiniteSteps.none(state.step.shape))
        return jax.lax.fori_loop(0, count, body, (state, report))

    @partial(jax.jit, static_argnums=0)
    def _forecast_and_learn(
        self,
        state: TrainState,
        hparams: TracedHparams,
        examples: Examples,
        forecast: Int[Array, "n B"],
        learned: Int[Array, "n B"],
    ) -> tuple[TrainState, Float[Array, "n"]]:
        def body(state: TrainState, batches: tuple[Array, Array]) -> tuple[TrainState, Float[Array, ""]]:
            forecast_batch, learned_batch = batches
            model = merge(self.graph, state.parameters)
            result = self.task.train_loss(model, examples.gather(forecast_batch), state.carry, None)
            loss, _ = check_loss_and_carry(self._owner("train_loss"), result)

            def learn() -> TrainState:
                return self._step(examples, state, hparams, jnp.maximum(learned_batch, 0))[0]

            after = jax.lax.cond(learned_batch[0] >= 0, learn, lambda: state)
            return after, loss.sum / loss.weight

        return jax.lax.scan(body, state, (forecast, learned))

    def _step(
        self, examples: Examples, state: TrainState, hparams: TracedHparams, indices: Int[Array, "B"]
    ) -> tuple[TrainState, StepReport]:
        """Make one step; the loss is the mean over the targets of the whole batch, on all devices."""
        key = jax.random.fold_in(jax.random.key(hparams["dropout_seed"]), state.step)

        def objective(
            parameters: Parameters, examples: Examples, key: Array, indices: Array, carry: PyTree, shard: Array | None
        ) -> tuple[Float[Array, ""], tuple[Float[Array, ""], PyTree]]:
            if shard is not None:
                key = jax.random.fold_in(key, shard)
            model = merge(self.graph, parameters)
            result = self.task.train_loss(model, examples.gather(indices), carry, key)
            loss, after = check_loss_and_carry(self._owner("train_loss"), result)
            return loss.sum, (loss.weight, after)

        loss_and_gradients = jax.value_and_grad(objective, has_aux=True)
        shared = (state.parameters, examples, key)
        if self.shards == 1:
            (total, (weight, carry)), gradient_sums = loss_and_gradients(*shared, indices, state.carry, None)
        else:
            parts = (
                self._split_microbatches(indices),
                self._split_microbatches(state.carry),
                jnp.arange(self.shards),
            )
            (totals, (weights, carries)), gradients_of_shards = map_shards(
                lambda shared, *part: loss_and_gradients(*shared, *part), shared, parts, self._batch_mesh
            )
            total, weight, gradient_sums = add_shards((totals, weights, gradients_of_shards), self._batch_mesh)
            carry = self._merge_microbatches(carries)

        # A batch without a target, such as windows past all ends, has neither a loss nor a gradient.
        weight = jnp.where(weight > 0, weight, 1)
        gradients = jax.tree.map(lambda total: total / weight, gradient_sums)
        updates, optimizer_state = self.optimizer(hparams).update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        loss = total / weight
        gradient_norm = optax.tree.norm(gradients)
        after = TrainState(state.step + 1, parameters, optimizer_state, carry, state.skipped)
        is_finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
        is_last = ~is_finite
        if self.skip_limit:
            after, is_finite = _skip_if_not_finite(state, after, is_finite)
            is_last = after.skipped.in_a_row >= self.skip_limit
        nonfinite = NonfiniteSteps.of_step(after.step, loss, gradients, is_finite=is_finite, is_last=is_last)
        return after, StepReport(loss, gradient_norm, nonfinite)

    @partial(jax.jit, static_argnums=0)
    def _eval_sums(
        self, parameters: Parameters, examples: Examples, indices: Int[Array, "n B"], weights: Float[Array, "n B"]
    ) -> Sums:
        def of_shard(shared: Shared, indices: Array, weights: Array, carry: PyTree) -> tuple[Sums, PyTree]:
            examples, parameters = shared
            model = merge(self.graph, parameters)
            result = self.task.eval_step(model, examples.gather(indices), carry, weights)
            return check_sums_and_carry(self._owner("eval_step"), result)

        def of_batch(shared: Shared, carry: PyTree, batch: tuple[Array, Array]) -> tuple[PyTree, Sums]:
            if self.shards == 1 or batch[0].size % self.shards:
                sums, carry = of_shard(shared, *batch, carry)
                return carry, sums
            parts = self._split_microbatches((*batch, carry))
            stacked, carries = map_shards(of_shard, shared, parts, self._batch_mesh)
            return self._merge_microbatches(carries), add_shards(stacked, self._batch_mesh)

        def of_run(shared: tuple[Examples, tuple[Array, Array]], parameters: Parameters) -> Sums:
            examples, batches = shared
            carry = self.task.initial_carry(merge(self.graph, parameters), batches[0].shape[1])
            _, sums = jax.lax.scan(partial(of_batch, (examples, parameters)), carry, batches)
            return sums

        return self._for_each_run(of_run)((examples, (indices, weights)), parameters)

    @partial(jax.jit, static_argnums=0)
    def _per_example_sums(self, parameters: Parameters, examples: Examples, indices: Int[Array, "n B"]) -> Sums:
        model = merge(self.graph, parameters)

        def of_example(index: Int[Array, ""]) -> Sums:
            result = self.task.eval_step(model, examples.gather(index[None]), (), jnp.ones(1))
            sums, _ = check_sums_and_carry(self._owner("eval_step"), result)
            return sums

        return jax.lax.map(jax.vmap(of_example), indices)

    def _owner(self, method: str) -> str:
        """Return the name of a method of the task, as error messages have it."""
        return f"{type(self.task).__name__}.{method}"

    def _split_microbatches(self, tree: Tree) -> Tree:
        """Reshape a batch's arrays [B, …] to [S, B/S, …], a row for each shard."""
        return jax.tree.map(lambda leaf: leaf.reshape(self.shards, -1, *leaf.shape[1:]), tree)

    def _merge_microbatches(self, tree: Tree) -> Tree:
        """Reshape [S, B/S, …] to [B, …], whole on every device."""
        merged = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
        return merged if self._batch_mesh is None else constrain_replicated(merged, self._batch_mesh)

    def _for_each_run(self, function: Callable[..., Result]) -> Callable[..., Result]:
        """Return `function(shared, *of_run)` for all runs at once."""
        if not self.runs:
            return function
        return lambda shared, *of_each_run: jax.vmap(partial(function, shared))(*of_each_run)


def _skip_if_not_finite(
    before: TrainState, after: TrainState, is_finite: Bool[Array, ""]
) -> tuple[TrainState, Bool[Array, ""]]:
    """Return the state after a step that is skipped if it is bad, and whether it is good.

    Args:
        before: The state before the step.
        after: The state after the step.
        is_finite: Whether its loss and its gradient are finite; the new parameters must be too.
    """
    for value in jax.tree.leaves(after.parameters):
        is_finite &= jnp.isfinite(value).all()
    kept: TrainState = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), after, before)
    return kept._replace(step=after.step, skipped=before.skipped.after(is_finite)), is_finite


def _index(tree: Tree, index: int) -> Tree:
    """Return the entry `index` along the first axis of every array."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
