"""A model of any task whose recurrent layers are probed."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.cells import Cell, Layer, Stack, spec_repr
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Parameters, merge
from nlstm_jax.probes.loop import NO_INTERVENTION, Intervention, Record, probed_scan
from nlstm_jax.tasks import AnyTask, WeightedSum
from nlstm_jax.types import Array, Carry, Float, Int, PyTree

Interventions: TypeAlias = Mapping[str, Intervention]
"""The interventions by the name of the layer in the model."""


def has_steps(layer: Layer) -> bool:
    """Return True if a layer runs step by step: it is a cell, or a stack of cells, and not bidirectional."""
    if isinstance(layer, Stack):
        return all(map(has_steps, layer.cells))
    return isinstance(layer, Cell)


class Evaluation(NamedTuple):
    """A batch that was evaluated with probed layers.

    Attributes:
        sums: The sums of the task, see `tasks.Task.eval_step`.
        carry: The carry of the task after the batch.
        records: The record of every layer, by its name in the model.
    """

    sums: dict[str, WeightedSum]
    carry: Carry
    records: dict[str, Record]


class _ProbedLayer(Recurrent):
    """A recurrent layer that records its first call.

    A model can call a layer again, to write symbols of its own. Those calls are run as by `Recurrent`.
    """

    def __init__(self, layer: Recurrent, name: str, intervention: Intervention, records: dict[str, Record]) -> None:
        """Take over the cell and the parameters of a layer.

        Args:
            layer: The layer.
            name: Its name in the model.
            intervention: The changes to its memories.
            records: The dictionary that gets the record.

        Raises:
            ConfigError: The layer has no steps, as a bidirectional one.
        """
        if not has_steps(layer.cell):
            raise ConfigError(f"show memory: a cell that runs step by step expected, found {spec_repr(layer.cell)}")
        self.cell = layer.cell
        self.in_features = layer.in_features
        self.time_major = layer.time_major
        self.deterministic = True
        self.mode = layer.mode
        self.remat = layer.remat
        self.truncate = layer.truncate
        self.params = nnx.data(layer.params)
        self.draws = False
        self.rngs = nnx.data(None)
        self._probe = nnx.static((name, intervention, records))

    def __call__(self, xs: Float[Array, "#T #B D"], carry: Carry | None = None, **options: Any) -> tuple[PyTree, ...]:
        """Run the layer, and record the first call. The options are those of `Recurrent`."""
        name, intervention, records = self._probe
        if name in records:
            return super().__call__(xs, carry, **options)
        given = {key: value for key, value in options.items() if value is not None and value is not False}
        masks = {key: given.pop(key) for key in ("lengths", "mask", "resets") if key in given}
        if given:
            raise ConfigError(
                f"show memory: a layer called with lengths, mask or resets expected, found {', '.join(given)}"
            )
        for key in ("mask", "resets"):
            if key in masks:
                masks[key] = self._swap_time_batch(masks[key])
        assert isinstance(self.cell, Cell)
        record = probed_scan(
            self.cell, self.values, self._swap_time_batch(xs), carry, intervention=intervention, **masks
        )
        records[name] = record
        return record.last, self._swap_time_batch(record.outputs)


def evaluate_probed(
    graph: nnx.GraphDef[Any],
    task: AnyTask,
    params: Parameters,
    batch: PyTree,
    carry: Carry,
    weight: Float[Array, "B"],
    interventions: Interventions,
) -> Evaluation:
    """Evaluate a batch as the task does, with probed layers. A pure function of arrays.

    Args:
        graph: The graph of the model, see `models.split`.
        task: The task.
        params: The parameters of the model.
        batch: The batch.
        carry: The carry after the previous batch.
        weight: The weight of each example.
        interventions: The interventions. A layer without one is recorded alone.

    Raises:
        ConfigError: A layer has no steps, or the model has no recurrent layer.
    """
    model = merge(graph, params)
    records: dict[str, Record] = {}
    for path, node in list(nnx.iter_graph(model)):
        if isinstance(node, Recurrent):
            name = ".".join(map(str, path))
            intervention = interventions.get(name, NO_INTERVENTION)
            _replace_node(model, path, _ProbedLayer(node, name, intervention, records))
    sums, next_carry = task.eval_step(model, batch, carry, weight)
    if not records:
        raise ConfigError("show memory: a model with a recurrent layer expected, found none")
    return Evaluation(sums, next_carry, records)


def gradients_of_outputs(
    graph: nnx.GraphDef[Any],
    task: AnyTask,
    params: Parameters,
    batch: PyTree,
    carry: Carry,
    weight: Float[Array, "B"],
    origins: Mapping[str, Int[Array, "Q B"]],
    key: Array,
) -> dict[str, dict[str, Float[Array, "Q T B ..."]]]:
    """Return the gradients of u · y_t with respect to every memory, for random signs u, by layer and memory.

    y are the outputs of the layer itself. No gradient passes from a batch to the one before it.

    Args:
        graph: The graph of the model.
        task: The task.
        params: The parameters.
        batch: The batch.
        carry: The carry after the previous batch.
        weight: The weight of each example.
        origins: The steps t of every sequence, by layer.
        key: The random key of u.
    """
    shapes = jax.eval_shape(lambda: evaluate_probed(graph, task, params, batch, carry, weight, {}).records)
    gradients = {}
    for name, record in shapes.items():
        zeros = {memory: jnp.zeros(leaf.shape, leaf.dtype) for memory, leaf in record.after.items()}

        def outputs(added: dict[str, Array], name: str = name) -> Array:
            interventions = {name: NO_INTERVENTION._replace(added=added)}
            return evaluate_probed(graph, task, params, batch, carry, weight, interventions).records[name].outputs

        ys, pull_back = jax.vjp(outputs, zeros)
        signs = jax.random.rademacher(key, (len(origins[name]), *ys.shape[1:]), ys.dtype)
        at_origin = jnp.arange(len(ys))[:, None] == origins[name][:, None, :]
        (gradients[name],) = jax.vmap(pull_back)(at_origin[..., None] * signs[:, None])
    return gradients


def _replace_node(model: Any, path: tuple[Any, ...], node: nnx.Module) -> None:
    """Put a module in the place of the one at a path of a model."""
    parent = model
    for part in path[:-1]:
        parent = parent[part] if isinstance(part, int) else getattr(parent, part)
    if isinstance(path[-1], int):
        parent[path[-1]] = node
    else:
        setattr(parent, path[-1], node)
