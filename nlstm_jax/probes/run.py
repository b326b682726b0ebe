"""The memories of one run, trained and untrained."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from nlstm_jax import models, settings
from nlstm_jax.analysis.memories import (
    PADDING,
    autocorrelation,
    gradient_by_lag,
    held_at,
    held_back,
    segments_of,
)
from nlstm_jax.analysis.memory_report import MemoryMeasures, RunMemories
from nlstm_jax.errors import ConfigError
from nlstm_jax.probes.loop import Intervention, Record, memories_of
from nlstm_jax.probes.model import Evaluation, evaluate_probed, gradients_of_outputs
from nlstm_jax.tasks import AnyTask, WeightedSum
from nlstm_jax.tasks.abilities import HasSymbols
from nlstm_jax.training.initial import initial_model
from nlstm_jax.training.restore import load_run
from nlstm_jax.types import AnyArray, Bool, Carry, Float, Int, PyTree

ORIGINS = (0.25, 0.5, 0.75, 1.0)
"""The outputs whose gradients are taken, as parts of the length of each sequence."""

_BATCH = 64
"""The number of sequences in a batch, where the task leaves the choice."""


class MemoryOptions(NamedTuple):
    """The options of a measurement.

    Attributes:
        sequences: The number of validation examples, at most.
        lags: The largest lag in steps.
        delay: The steps by which a memory is held back.
    """

    sequences: int = 256
    lags: int = 64
    delay: int = 8


class _Batch(NamedTuple):
    """A batch of validation examples."""

    arrays: PyTree
    weight: Float[np.ndarray, "B"]


class _Layer(NamedTuple):
    """The joined record of a layer over all batches.

    Attributes:
        read: What each step reads of each memory, [T, B, …].
        after: The memories after each step, [T, B, …].
        segments: The segment of each step.
    """

    read: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    segments: Int[np.ndarray, "T B"]


def measure_run(workdir: Path, options: MemoryOptions) -> RunMemories:
    """Measure the memories of a run's best model, and of the model that it started from, on validation data.

    Args:
        workdir: The run folder.
        options: The options of the measurement.

    Raises:
        ConfigError: The task has no validation split or no loss, or a layer has no steps.
        DataError: The data are missing or have changed since the run.
        CheckpointError: There is no checkpoint that can be restored.
    """
    run = load_run(workdir)
    if "valid" not in run.task.splits:
        raise ConfigError(f"{workdir}: a task with a validation split expected, found {run.config['task']}")
    config = {**run.config, "unroll": {**run.config["unroll"], "mode": "auto"}}
    graph, untrained = models.split(initial_model(config, run.task))
    probe = _Probe(run.task, graph, options)
    trained = probe.measure(run.params)
    before_training = probe.measure(untrained)

    words = _words(run.task, probe.batches[0])
    pictured = {}
    for name, memory, layer in _each_memory(trained.layers):
        if words:
            pictured[name] = _flat(layer.after[memory])[: len(words), 0]
    # The report of a task can scale its sums, but no log-loss.
    unit = f"the sum {probe.loss_name} of the task"
    if probe.loss_name == "log_loss":
        unit = settings.describe_metrics(run.config)["log_loss"]["unit"]
    return RunMemories(str(workdir), trained.measures, before_training.measures, trained.loss, unit, words, pictured)


class _Measurement(NamedTuple):
    """The measurement of one model.

    Attributes:
        measures: The measurements by memory.
        layers: The records by layer.
        loss: The loss with no memory held.
    """

    measures: dict[str, MemoryMeasures]
    layers: dict[str, _Layer]
    loss: float


class _Probe:
    """The measurement of several models of one graph on the same examples.

    Attributes:
        batches: The validation batches.
        loss_name: The name of the task's sum that is the loss, once a model was measured.
    """

    def __init__(self, task: AnyTask, graph: nnx.GraphDef[Any], options: MemoryOptions) -> None:
        """Choose the batches, and compile nothing yet."""
        self.batches = _batches(task, options.sequences)
        self.loss_name = ""
        self._task = task
        self._graph = graph
        self._options = options
        self._evaluate: Callable[..., Evaluation] = jax.jit(partial(evaluate_probed, graph, task))
        self._gradients = jax.jit(partial(gradients_of_outputs, graph, task))

    def measure(self, params: models.Parameters) -> _Measurement:
        """Measure one model."""
        # Arrays of the host are compiled for once, wherever they come from.
        params = jax.device_get(params)
        carry: Carry = self._task.initial_carry(models.merge(self._graph, params), len(self.batches[0].weight))
        is_stateful = bool(jax.tree.leaves(carry))
        carries = []
        records: list[dict[str, Record]] = []
        sums = []
        for batch in self.batches:
            carries.append(carry)
            evaluation = self._evaluate(params, batch.arrays, carry, batch.weight, {})
            records.append(jax.device_get(evaluation.records))
            sums.append(evaluation.sums)
            carry = evaluation.carry
        self.loss_name = _name_of_loss(sums[0], self._task)
        axis = 0 if is_stateful else 1
        layers = {name: self._join([record[name] for record in records], axis) for name in records[0]}
        gradients = self._gradients_by_lag(params, carries, records)

        loss = _mean(sums, self.loss_name)
        measures = {}
        for name, memory, layer in _each_memory(layers):
            correlations = autocorrelation(_flat(layer.after[memory]), layer.segments, self._options.lags)
            changes = {}
            for kind, values in self._holds(layer, memory).items():
                held = self._evaluate_held(params, carries, layers, name, values, axis)
                changes[kind] = held - loss
            measures[name] = MemoryMeasures(correlations, gradients[name], changes)
        return _Measurement(measures, layers, loss)

    def _evaluate_held(
        self,
        params: models.Parameters,
        carries: Sequence[Carry],
        layers: Mapping[str, _Layer],
        name: str,
        values: np.ndarray,
        axis: int,
    ) -> float:
        """Return the loss while the steps read `values` of the memory `name`. Each batch starts from its own carry."""
        layer_name = _layer_of(name, layers)
        layer = layers[layer_name]
        memory = name.removeprefix(f"{layer_name}/")
        parts = np.split(values.reshape(layer.read[memory].shape), len(self.batches), axis)
        held: dict[str, AnyArray] = {other: np.array(other == memory) for other in layer.read}
        sums = []
        for batch, carry, part in zip(self.batches, carries, parts, strict=True):
            # All memories are named, so that one compiled function serves them.
            replaced: dict[str, AnyArray] = {}
            for other, value in layer.read.items():
                replaced[other] = np.zeros((*part.shape[:2], *value.shape[2:]), value.dtype)
            replaced[memory] = part
            interventions = {layer_name: Intervention(replaced, held, {})}
            sums.append(self._evaluate(params, batch.arrays, carry, batch.weight, interventions).sums)
        return _mean(sums, self.loss_name)

    def _join(self, records: Sequence[Record], axis: int) -> _Layer:
        """Join the records of a layer along the time or the batch. A window that goes on begins no new segment."""
        valid = []
        resets = []
        last: Carry = None
        for record, batch in zip(records, self.batches, strict=True):
            begins = np.array(record.resets)
            if axis == 0 and last is not None:
                begins[0] |= ~_equal(record.start, last)
            last = record.last
            resets.append(begins)
            valid.append(_valid(record, batch))
        segments = segments_of(np.concatenate(valid, axis), np.concatenate(resets, axis))
        # A compiled function returns a dictionary in the order of its keys.
        names = memories_of(records[0].last)
        read = {name: np.concatenate([record.read[name] for record in records], axis) for name in names}
        after = {name: np.concatenate([record.after[name] for record in records], axis) for name in names}
        return _Layer(read, after, segments)

    def _holds(self, layer: _Layer, memory: str) -> dict[str, np.ndarray]:
        """Return what each step reads of a memory, by how it is held."""
        read = _flat(layer.read[memory])
        mean = _flat(layer.after[memory])[layer.segments != PADDING].mean(0)
        delay = self._options.delay
        return {
            f"held back {delay} steps": held_back(read, layer.segments, delay),
            "held at its mean": held_at(read, layer.segments, mean),
            "held at zero": held_at(read, layer.segments, np.zeros_like(mean)),
        }

    def _gradients_by_lag(
        self, params: models.Parameters, carries: Sequence[Carry], records: Sequence[Mapping[str, Record]]
    ) -> dict[str, np.ndarray]:
        """Return the norms of the gradients by lag and memory, on the batch in the middle."""
        middle = len(self.batches) // 2
        batch = self.batches[middle]
        segments = {}
        origins = {}
        for name, record in records[middle].items():
            valid = _valid(record, batch)
            segments[name] = segments_of(valid, np.array(record.resets))
            origins[name] = _origins(valid)
        found = self._gradients(params, batch.arrays, carries[middle], batch.weight, origins, jax.random.key(0))
        norms = {}
        for layer_name, memories in jax.device_get(found).items():
            for memory, values in memories.items():
                flat = values.reshape(*values.shape[:3], -1)
                name = _memory_name(layer_name, memory, len(found))
                norms[name] = gradient_by_lag(flat, origins[layer_name], segments[layer_name], self._options.lags)
        return norms


def _batches(task: AnyTask, count: int) -> list[_Batch]:
    """Return the first or evenly spread validation examples, as the task evaluates them."""
    examples = task.splits["valid"]
    count = min(count, examples.size)
    indices, weights = examples.eval_batches(min(_BATCH, count), count)
    return [_Batch(examples.gather(row), weight) for row, weight in zip(indices, weights, strict=True)]


def _valid(record: Record, batch: _Batch) -> Bool[np.ndarray, "T B"]:
    """Return True at the steps that count: in a sequence, of an example, and not after its last target."""
    valid = np.array(record.valid) & (np.asarray(batch.weight) > 0)
    mask = getattr(batch.arrays, "mask", None)
    if mask is not None and np.shape(mask) == valid.shape:
        later_targets = np.cumsum(np.asarray(mask)[::-1] > 0, axis=0)[::-1]
        valid &= later_targets > 0
    return valid


def _origins(valid: Bool[np.ndarray, "T B"]) -> Int[np.ndarray, "Q B"]:
    """Return the steps at the parts `ORIGINS` of each sequence, 0 of an empty one."""
    counts = np.cumsum(valid, axis=0)
    origins = []
    for part in ORIGINS:
        wanted = np.ceil(part * counts[-1])
        origins.append(np.argmax(counts >= np.maximum(wanted, 1), axis=0))
    return np.stack(origins)


def _equal(first: Carry, second: Carry) -> Bool[np.ndarray, "B"]:
    """Return True for every sequence whose two carries are equal."""
    equal = []
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        equal.append((np.asarray(a) == np.asarray(b)).reshape(len(a), -1).all(-1))
    return np.all(equal, axis=0)


def _each_memory(layers: Mapping[str, _Layer]) -> list[tuple[str, str, _Layer]]:
    """Return the full name, the name in its layer, and the layer of each memory."""
    return [
        (_memory_name(layer_name, memory, len(layers)), memory, layer)
        for layer_name, layer in layers.items()
        for memory in layer.after
    ]


def _memory_name(layer_name: str, memory: str, layers: int) -> str:
    """Return the name of a memory in a report. The layer is named if the model has several."""
    return memory if layers == 1 else f"{layer_name}/{memory}"


def _layer_of(name: str, layers: Mapping[str, _Layer]) -> str:
    """Return the layer of a memory, from its name in a report."""
    return next(iter(layers)) if len(layers) == 1 else name.partition("/")[0]


def _flat(memory: np.ndarray) -> Float[np.ndarray, "T B H"]:
    """Return a memory with one axis of units."""
    return memory.reshape(*memory.shape[:2], -1)


def _name_of_loss(sums: Mapping[str, WeightedSum], task: AnyTask) -> str:
    """Return the sum of a task that is its loss: `log_loss`, `loss`, or the first metric that is to be low.

    Raises:
        ConfigError: There is none.
    """
    low = [metric.name for metric in task.metrics if not metric.higher_is_better]
    for name in ("log_loss", "loss", *low):
        if name in sums:
            return name
    raise ConfigError(f"show memory: a task whose sums include a loss expected, found {', '.join(sums)}")


def _mean(sums: Sequence[Mapping[str, WeightedSum]], name: str) -> float:
    """Return the mean of a sum over all batches."""
    total = sum(float(batch[name].sum) for batch in sums)
    weight = sum(float(batch[name].weight) for batch in sums)
    return total / weight


def _words(task: AnyTask, batch: _Batch) -> list[str]:
    """Return the symbols of the first example that the model reads; empty if the task has none."""
    tokens = getattr(batch.arrays, "tokens", None)
    if not isinstance(task, HasSymbols) or tokens is None:
        return []
    mask = np.asarray(batch.arrays.mask)[:, 0] > 0
    return [str(task.symbols[number]) for number in np.asarray(tokens)[: int(mask.sum()), 0]]
