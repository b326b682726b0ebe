"""The same training in our trainer, in a PyTorch loop and in Keras' `fit` on JAX.

All use the same model, batches, Adam and gradient clipping. Each factory takes a configuration and its task, and
returns a function that makes a number of further steps and returns when they are done.
"""

import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np

from benchmarks import implementations
from benchmarks.implementations import Shape, Tensor
from nlstm_jax import models
from nlstm_jax.tasks import AnyTask
from nlstm_jax.tasks.base import BatchSampler
from nlstm_jax.training.optimizer import OptimizerFactory, traced_hparams
from nlstm_jax.training.parallel import make_mesh, replicate
from nlstm_jax.training.schedule import TrainingSchedule
from nlstm_jax.training.steps import CompiledSteps
from nlstm_jax.types import Config, PyTree


def ours(config: Config, task: AnyTask, *, devices: int = 1, shards: int = 1) -> Callable[[int], None]:
    """Return `CompiledSteps.train`, called as `training.fit` calls it.

    Args:
        config: The configuration.
        task: The task of the configuration.
        devices: The number of devices to split the batch over.
        shards: The number of shards of the batch.
    """
    mesh = make_mesh({}, jax.devices()[:devices])
    schedule = TrainingSchedule.from_config(config, task.splits["train"].size)
    model = models.build(config, task.model_dims)
    hparams = traced_hparams(config)
    program = CompiledSteps.from_model(
        model, task, OptimizerFactory.from_config(config, schedule), mesh, shards=shards
    )
    examples = replicate(task.splits["train"], mesh)
    sampler = _sampler(config, task)
    call_size = schedule.steps_per_call
    state = program.init_state(model, hparams, config["train"]["batch_size"])
    next_step = 0

    def run(steps: int) -> None:
        nonlocal state, next_step
        stop = next_step + steps
        for start in range(next_step, stop, call_size):
            batches = sampler.batches(start, min(start + call_size, stop))
            state, report = program.train(state, hparams, examples, batches, call_size)
        next_step = stop
        jax.block_until_ready(report)

    return run


def torch(config: Config, task: AnyTask) -> Callable[[int], None]:
    """Return a usual training loop: embedding or inputs, `nn.LSTM` or a Nested LSTM, head, and `optim.Adam`."""
    import torch as pytorch

    pytorch.set_num_threads(len(os.sched_getaffinity(0)))
    nn = pytorch.nn
    functional = nn.functional
    options = config["model"]
    units = config["cell"]["features"]
    has_words = "vocabulary" in task.model_dims
    outputs = task.model_dims["vocabulary"] if has_words else task.model_dims["outputs"]
    width = options["embedding"] if has_words else task.model_dims["channels"]

    embedding = nn.Embedding(task.model_dims["vocabulary"], width) if has_words else None
    recurrent, parameters = _torch_recurrent(pytorch, config["cell"], width)
    head = nn.Linear(units, outputs)
    if embedding is not None:
        parameters += list(embedding.parameters())
    parameters += list(head.parameters())
    adam = pytorch.optim.Adam(parameters, lr=config["optimizer"]["learning_rate"])

    def loss(batch: PyTree) -> Tensor:
        if embedding is None:
            inputs, targets = map(pytorch.from_numpy, batch)
            return functional.mse_loss(head(recurrent(inputs)[-1])[:, 0], targets)
        tokens, lengths = (pytorch.from_numpy(array).long() for array in batch)
        xs = functional.dropout(embedding(tokens[:-1]), options["dropout_input"])
        logits = head(functional.dropout(recurrent(xs), options["dropout_output"]))
        # PyTorch ignores targets of −100. Targets past the end of a poem get that value.
        is_past_end = pytorch.arange(len(tokens) - 1)[:, None] >= lengths
        targets = tokens[1:].masked_fill(is_past_end, -100)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    batches = _Batches(config, task)

    def run(steps: int) -> None:
        for _ in range(steps):
            adam.zero_grad()
            loss(next(batches)).backward()
            nn.utils.clip_grad_norm_(parameters, config["optimizer"]["clip_norm"])
            adam.step()

    return run


def _torch_recurrent(pytorch: ModuleType, cell: Config, width: int) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Return a recurrent layer of PyTorch as a function of xs [T, B, width], and its parameters."""
    if cell["name"] == "nlstm":
        return implementations.torch_nested(pytorch, cell["depth"], Shape(0, 0, width, cell["features"]))
    layer = pytorch.nn.LSTM(width, cell["features"])
    return lambda xs: layer(xs)[0], list(layer.parameters())


def keras(config: Config, task: AnyTask) -> Callable[[int], None]:
    """Return Keras' `fit` on the same batches, which are put in order before each call."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras as library

    layers = library.layers
    options = config["model"]
    units = config["cell"]["features"]
    has_words = "vocabulary" in task.model_dims

    if config["cell"]["name"] == "nlstm":
        recurrent = layers.RNN(_keras_nested(library, units))
    else:
        recurrent = layers.LSTM(units, return_sequences=has_words)
    if has_words:
        model = library.Sequential(
            [
                layers.Embedding(task.model_dims["vocabulary"], options["embedding"]),
                layers.Dropout(options["dropout_input"]),
                recurrent,
                layers.Dropout(options["dropout_output"]),
                layers.Dense(task.model_dims["vocabulary"]),
            ]
        )
        loss = library.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        model = library.Sequential([recurrent, layers.Dense(task.model_dims["outputs"])])
        loss = "mse"
    adam = library.optimizers.Adam(
        config["optimizer"]["learning_rate"], global_clipnorm=config["optimizer"]["clip_norm"]
    )
    model.compile(adam, loss=loss, jit_compile=True)
    batches = _Batches(config, task)
    batch_size = config["train"]["batch_size"]

    def run(steps: int) -> None:
        taken = [next(batches) for _ in range(steps)]
        if has_words:
            tokens = np.concatenate([batch.tokens.T for batch in taken])
            inputs = tokens[:, :-1]
            targets = tokens[:, 1:]
            weights = np.concatenate([np.asarray(batch.mask).T for batch in taken])
        else:
            inputs = np.concatenate([np.moveaxis(batch.inputs, 0, 1) for batch in taken])
            targets = np.concatenate([batch.targets for batch in taken])
            weights = None
        model.fit(inputs, targets, sample_weight=weights, batch_size=batch_size, epochs=1, shuffle=False, verbose=0)

    return run


def _keras_nested(library: Any, units: int) -> object:
    """Return a Nested LSTM of depth 2 as a Keras cell."""
    ops = library.ops

    class Cell(library.layers.Layer):
        """A Nested LSTM of depth 2."""

        state_size = (units,) * 3
        output_size = units

        def build(self, shape: tuple[int, ...]) -> None:
            """Make the parameters."""
            widths = {"x": shape[-1], "h": units, "inner_x": units, "inner_h": units}
            self.kernels = [self.add_weight(shape=(width, 4 * units), name=name) for name, width in widths.items()]
            self.biases = [self.add_weight(shape=(4 * units,), initializer="zeros", name=name) for name in "bc"]

        def call(self, x: jax.Array, states: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            """Return the output and the next states."""
            h, c, inner_c = states
            w_x, w_h, inner_w_x, inner_w_h = self.kernels
            z = ops.matmul(x, w_x) + ops.matmul(h, w_h) + self.biases[0]
            i, f, g, o = ops.split(z, 4, axis=-1)
            inner_x = ops.sigmoid(i) * g
            inner_h = ops.sigmoid(f) * c

            inner_z = ops.matmul(inner_x, inner_w_x) + ops.matmul(inner_h, inner_w_h) + self.biases[1]
            i, f, g, inner_o = ops.split(inner_z, 4, axis=-1)
            inner_c = ops.sigmoid(f) * inner_c + ops.sigmoid(i) * ops.tanh(g)
            c = ops.sigmoid(inner_o) * ops.tanh(inner_c)
            h = ops.sigmoid(o) * ops.tanh(c)
            return h, [h, c, inner_c]

    return Cell()


class _Batches:
    """An iterator over the batches of a run, as NumPy arrays."""

    def __init__(self, config: Config, task: AnyTask) -> None:
        self._sampler = _sampler(config, task)
        self._take = jax.jit(task.splits["train"].gather)
        self._next_step = 0

    def __next__(self) -> PyTree:
        (indices,) = self._sampler.batches(self._next_step, self._next_step + 1)
        self._next_step += 1
        return jax.tree.map(np.array, self._take(indices))


def _sampler(config: Config, task: AnyTask) -> BatchSampler:
    """Return the sampler that decides the order of the training examples."""
    sampler: BatchSampler = task.splits["train"].order(config["seeds"]["data"], config["train"]["batch_size"])
    return sampler


_CORES = len(os.sched_getaffinity(0))

TRAINERS: dict[str, Callable[..., Callable[[int], None]]] = {
    "ours, one device": ours,
    "ours, batch over {} devices": functools.partial(ours, devices=_CORES),
    "ours, the same with a shard a device": functools.partial(ours, devices=_CORES, shards=_CORES),
    "PyTorch": torch,
    "Keras fit on JAX": keras,
}
"""The factories by title. {} stands for the number of cores."""
