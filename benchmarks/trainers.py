"""The same training in ours, in a loop in PyTorch and by Keras' `fit` on JAX: model, batches, Adam, clipping.

Each factory takes a configuration and its task and returns a function that makes so many steps more and returns when
they are done.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from benchmarks import implementations
from benchmarks.implementations import Shape
from nlstm_jax import models
from nlstm_jax.tasks.base import ShuffledSampler
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps


def ours(config: Mapping[str, Any], task: Any, *, devices: int = 1, shards: int = 1) -> Callable[[int], None]:
    """`CompiledSteps.train`, as `training.fit` calls it."""
    mesh = make_mesh({}, jax.devices()[:devices])
    plan = TrainingSchedule.from_config(config, task.splits["train"].size)
    model, numbers = models.build(config, task.model_dims), traced_hparams(config)
    program = CompiledSteps.from_model(model, task, OptimizerFactory.from_config(config, plan), mesh, shards=shards)
    examples, order, size = replicate(task.splits["train"], mesh), _order(config, task), plan.steps_per_call
    state = [program.init_state(model, numbers)]
    made = [0]

    def run(steps: int) -> None:
        for start in range(made[0], made[0] + steps, size):
            batches = order.batches(start, min(start + size, made[0] + steps))
            state[0], report = program.train(state[0], numbers, examples, batches, size)
        made[0] += steps
        jax.block_until_ready(report)

    return run


def torch(config: Mapping[str, Any], task: Any) -> Callable[[int], None]:
    """A loop as one writes it: embedding or inputs, `nn.LSTM` or a Nested LSTM, head; `optim.Adam`."""
    import torch as pytorch

    pytorch.set_num_threads(len(os.sched_getaffinity(0)))
    nn, functional = pytorch.nn, pytorch.nn.functional
    options, units = config["model"], config["cell"]["features"]
    words = "vocabulary" in task.model_dims
    width = options["embedding"] if words else task.model_dims["channels"]
    embedding = nn.Embedding(task.model_dims["vocabulary"], width) if words else None
    if config["cell"]["name"] == "nlstm":
        over_time, parameters = implementations.torch_nested(
            pytorch, config["cell"]["depth"], Shape(0, 0, width, units)
        )
    else:
        layer = nn.LSTM(width, units)
        over_time, parameters = (lambda xs: layer(xs)[0]), list(layer.parameters())
    head = nn.Linear(units, task.model_dims["vocabulary"] if words else task.model_dims["outputs"])
    for module in (embedding, head):
        parameters += [] if module is None else list(module.parameters())
    adam = pytorch.optim.Adam(parameters, lr=config["optimizer"]["learning_rate"])

    def loss(batch: Any) -> Any:
        if embedding is None:
            inputs, targets = map(pytorch.from_numpy, batch)
            return functional.mse_loss(head(over_time(inputs)[-1])[:, 0], targets)
        tokens, lengths = (pytorch.from_numpy(each).long() for each in batch)
        xs = functional.dropout(embedding(tokens[:-1]), options["dropout_input"])
        logits = head(functional.dropout(over_time(xs), options["dropout_output"]))
        # Targets past a poem's end are given the number that is passed over.
        past = pytorch.arange(len(tokens) - 1)[:, None] >= lengths
        return functional.cross_entropy(logits.flatten(0, 1), tokens[1:].masked_fill(past, -100).flatten())

    batches = _Batches(config, task)

    def run(steps: int) -> None:
        for _ in range(steps):
            adam.zero_grad()
            loss(next(batches)).backward()
            nn.utils.clip_grad_norm_(parameters, config["optimizer"]["clip_norm"])
            adam.step()

    return run


def keras(config: Mapping[str, Any], task: Any) -> Callable[[int], None]:
    """`fit` on as many batches, put in order beforehand."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras as library

    options, units = config["model"], config["cell"]["features"]
    layers, words = library.layers, "vocabulary" in task.model_dims
    cell = _keras_nested(library, units) if config["cell"]["name"] == "nlstm" else None
    recurrent = layers.LSTM(units, return_sequences=words) if cell is None else layers.RNN(cell)
    front: list[Any] = []
    if words:
        front = [
            layers.Embedding(task.model_dims["vocabulary"], options["embedding"]),
            layers.Dropout(options["dropout_input"]),
        ]
    behind = [layers.Dropout(options["dropout_output"])] if words else []
    head = layers.Dense(task.model_dims["vocabulary"] if words else task.model_dims["outputs"])
    model = library.Sequential([*front, recurrent, *behind, head])
    loss = library.losses.SparseCategoricalCrossentropy(from_logits=True) if words else "mse"
    rate, norm = config["optimizer"]["learning_rate"], config["optimizer"]["clip_norm"]
    model.compile(library.optimizers.Adam(rate, global_clipnorm=norm), loss=loss, jit_compile=True)
    batches, size = _Batches(config, task), config["train"]["batch_size"]

    def run(steps: int) -> None:
        taken = [next(batches) for _ in range(steps)]
        if not words:
            inputs = np.concatenate([np.moveaxis(batch.inputs, 0, 1) for batch in taken])
            targets, weights = np.concatenate([batch.targets for batch in taken]), None
        else:
            tokens = np.concatenate([batch.tokens.T for batch in taken])
            weights = np.concatenate([np.asarray(batch.mask).T for batch in taken])
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
        model.fit(inputs, targets, sample_weight=weights, batch_size=size, epochs=1, shuffle=False, verbose=0)

    return run


def _keras_nested(library: Any, units: int) -> Any:
    """A Nested LSTM of depth 2 as a Keras cell."""
    ops = library.ops

    class Cell(library.layers.Layer):
        state_size = (units,) * 3
        output_size = units

        def build(self, shape: Any) -> None:
            widths = [(shape[-1], "x"), (units, "h"), (units, "inner_x"), (units, "inner_h")]
            self.kernels = [self.add_weight(shape=(width, 4 * units), name=name) for width, name in widths]
            self.biases = [self.add_weight(shape=(4 * units,), initializer="zeros", name=name) for name in "bc"]

        def call(self, x: Any, states: Any) -> Any:
            h, c, inner_c = states
            u, w, inner_u, inner_w = self.kernels
            i, f, g, o = ops.split(ops.matmul(x, u) + ops.matmul(h, w) + self.biases[0], 4, axis=-1)
            inner_x, inner_h = ops.sigmoid(i) * g, ops.sigmoid(f) * c
            z = ops.matmul(inner_x, inner_u) + ops.matmul(inner_h, inner_w) + self.biases[1]
            i, f, g, inner_o = ops.split(z, 4, axis=-1)
            inner_c = ops.sigmoid(f) * inner_c + ops.sigmoid(i) * ops.tanh(g)
            c = ops.sigmoid(inner_o) * ops.tanh(inner_c)
            h = ops.sigmoid(o) * ops.tanh(c)
            return h, [h, c, inner_c]

    return Cell()


class _Batches:
    """The batches that a run sees, one after the other, as arrays of NumPy."""

    def __init__(self, config: Mapping[str, Any], task: Any) -> None:
        self._order, self._examples, self._number = _order(config, task), task.splits["train"], 0
        self._take = jax.jit(self._examples.take)

    def __next__(self) -> Any:
        (indices,) = self._order.batches(self._number, self._number + 1)
        self._number += 1
        return jax.tree.map(np.array, self._take(indices))


def _order(config: Mapping[str, Any], task: Any) -> ShuffledSampler:
    return ShuffledSampler(config["seeds"]["data"], task.splits["train"].size, config["train"]["batch_size"])


_CORES = len(os.sched_getaffinity(0))

TRAINERS: dict[str, Callable[..., Callable[[int], None]]] = {
    "ours, one device": ours,
    "ours, batch over {} devices": functools.partial(ours, devices=_CORES),
    "ours, the same with a shard a device": functools.partial(ours, devices=_CORES, shards=_CORES),
    "PyTorch": torch,
    "Keras fit on JAX": keras,
}
