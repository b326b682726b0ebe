"""The compiled part of a run: many training steps a call, and the sums over a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from nlstm_jax.models import Parameters, merge, split
from nlstm_jax.tasks import Examples, Mean, Task
from nlstm_jax.tasks.base import in_order
from nlstm_jax.training.parallel import replicate, split_batch
from nlstm_jax.types import Array, Float, Int


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
        step: how many steps have been made.
        parameters: by name.
        optimizer: optax's state.
    """

    step: Int[Array, ""]
    parameters: Parameters
    optimizer: Any


class StepReport(NamedTuple):
    """What the last step of a call saw: its loss with dropout on, and its gradient's norm before clipping."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]


@dataclass(frozen=True, eq=False)
class Program:
    """The functions of a run that are compiled, over one model graph, task and optimizer."""

    graph: Any
    task: Task
    optimizer: optax.GradientTransformation
    dropout_seed: int
    mesh: Mesh

    @classmethod
    def of(
        cls, model: Any, task: Task, optimizer: optax.GradientTransformation, dropout_seed: int, mesh: Mesh
    ) -> tuple[Self, TrainState]:
        """The program of a model, and the state before the first step, on the mesh."""
        graph, parameters = split(model)
        state = TrainState(jnp.int32(0), parameters, optimizer.init(parameters))
        return cls(graph, task, optimizer, dropout_seed, mesh), replicate(state, mesh)

    def train(
        self, state: TrainState, examples: Examples, batches: Int[np.ndarray, "n B"], size: int
    ) -> tuple[TrainState, StepReport]:
        """One step on each of the batches, in one compiled call; `state`'s arrays are given away.

        Args:
            state: before the steps.
            examples: on the mesh.
            batches: which examples each batch has.
            size: the number of batches that the call is compiled for, at least n.
        """
        padded = np.zeros((size, batches.shape[1]), np.int32)
        padded[: len(batches)] = batches
        return self._train(state, examples, split_batch(padded, self.mesh), len(batches))

    def measure(
        self, parameters: Parameters, examples: Examples, batch_size: int, count: int | None = None
    ) -> dict[str, Mean]:
        """The task's sums over all examples, or over `count` evenly spread ones; added up in float64."""
        batches = split_batch(in_order(examples.size, batch_size, count), self.mesh)
        sums = jax.device_get(self._measure(parameters, examples, *batches))
        return {
            name: Mean(*(np.sum(part, dtype=np.float64) for part in total))  # type: ignore[arg-type]
            for name, total in sums.items()
        }

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _train(
        self, state: TrainState, examples: Examples, batches: Int[Array, "n B"], count: Int[Array, ""]
    ) -> tuple[TrainState, StepReport]:
        def body(number: Int[Array, ""], carry: tuple[TrainState, StepReport]) -> tuple[TrainState, StepReport]:
            return self._step(carry[0], examples.take(batches[number]))

        nothing = StepReport(jnp.float32(jnp.nan), jnp.float32(jnp.nan))
        return jax.lax.fori_loop(0, count, body, (state, nothing))

    def _step(self, state: TrainState, batch: Any) -> tuple[TrainState, StepReport]:
        """The loss is the sum over the targets of the whole batch, on all devices, over their number."""
        key = jax.random.fold_in(jax.random.key(self.dropout_seed), state.step)

        def objective(parameters: Parameters) -> Float[Array, ""]:
            loss = self.task.loss(merge(self.graph, parameters), batch, key)
            return loss.sum / loss.weight

        loss, gradients = jax.value_and_grad(objective)(state.parameters)
        updates, optimizer = self.optimizer.update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        return TrainState(state.step + 1, parameters, optimizer), StepReport(loss, optax.tree.norm(gradients))

    @partial(jax.jit, static_argnums=0)
    def _measure(
        self, parameters: Parameters, examples: Examples, indices: Int[Array, "n B"], weights: Float[Array, "n B"]
    ) -> Mapping[str, Mean]:
        model = merge(self.graph, parameters)
        return jax.lax.map(
            lambda batch: self.task.measure(model, examples.take(batch[0]), batch[1]), (indices, weights)
        )
