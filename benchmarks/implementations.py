"""The same recurrent layer in every framework, as a training step or as a forward pass alone.

A training step computes the gradients of Σ y² by all parameters and inputs. Each factory takes the kind of layer, the
shape and what to do, and returns a function that does it once and returns when it is done, or None if the framework
lacks the layer. All implementations have as many parameters as ours, except for PyTorch's second bias.
"""

import functools
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import handwritten
from benchmarks.own_cell import Coupled
from nlstm_jax import unroll
from nlstm_jax.cells import GRU, LSTM, Layer, Stack, nested_lstm
from nlstm_jax.training.parallel import make_mesh, replicate, split_axis
from nlstm_jax.types import PyTree

Tensor: TypeAlias = Any
"""A tensor of PyTorch, whose types are not read here, as it is an optional package."""

Run: TypeAlias = Callable[[], object]
"""A function that does the work once and returns when it is done."""

KINDS: dict[str, Callable[[int], Layer]] = {
    "LSTM": LSTM,
    "GRU": GRU,
    "2-layer LSTM": lambda features: Stack((LSTM(features),) * 2),
    "NLSTM depth 2": lambda features: nested_lstm(features, 2),
    "NLSTM depth 3": lambda features: nested_lstm(features, 3),
    "own cell": Coupled,
}
"""Our layers by name, as functions of the number of units."""


class Shape(NamedTuple):
    """A shape of a layer and its inputs.

    Attributes:
        steps: The number of time steps T.
        batch: The batch size B.
        inputs: The number of input features D.
        units: The number of hidden units H.
    """

    steps: int
    batch: int
    inputs: int
    units: int

    def operations(self, kind: str, training: bool) -> float:
        """Return the floating-point operations of the matrix products, in training those of the backward pass too."""
        gates = 3 if kind in ("GRU", "own cell") else 4
        levels = {"2-layer LSTM": 2, "NLSTM depth 2": 2, "NLSTM depth 3": 3}.get(kind, 1)
        widths = self.inputs + (2 * levels - 1) * self.units
        passes = 3 if training else 1
        return passes * 2 * gates * self.batch * self.steps * self.units * widths


def ours(kind: str, shape: Shape, training: bool, *, mode: str, split: bool = False) -> Run | None:
    """Return our `unroll`, on one device or with the batch split over all devices.

    Args:
        kind: The kind of layer, a key of `KINDS`.
        shape: The shape of the layer and its inputs.
        training: True for a training step, False for a forward pass.
        mode: The mode of `unroll`.
        split: True to split the batch over all devices.

    Returns:
        None if the batch cannot be split.
    """
    if split and (jax.device_count() == 1 or shape.batch % jax.device_count()):
        return None
    layer = KINDS[kind](shape.units)
    params = layer.init(jax.random.key(0), shape.inputs)
    xs = _inputs(shape)
    if split:
        mesh = make_mesh({"batch": shape.batch})
        params = replicate(params, mesh)
        xs = split_axis(xs, mesh, 1)
    return _compiled_run(lambda params, xs: unroll(layer, params, xs, mode=mode)[1], params, xs, training)


def by_hand(kind: str, shape: Shape, training: bool) -> Run | None:
    """Return the LSTM whose backward pass is written by hand."""
    if kind != "LSTM":
        return None
    params = KINDS[kind](shape.units).init(jax.random.key(0), shape.inputs)
    return _compiled_run(handwritten.lstm, params, _inputs(shape), training)


def flax(kind: str, shape: Shape, training: bool) -> Run | None:
    """Return `flax.nnx.RNN` around `OptimizedLSTMCell` or `GRUCell`."""
    from flax import nnx

    cells: dict[str, list[Callable[..., nnx.RNNCellBase]]] = {
        "LSTM": [nnx.OptimizedLSTMCell],
        "GRU": [nnx.GRUCell],
        "2-layer LSTM": [nnx.OptimizedLSTMCell] * 2,
    }
    if kind not in cells:
        return None
    layers = []
    in_features = shape.inputs
    for cell in cells[kind]:
        layers.append(nnx.RNN(cell(in_features, shape.units, rngs=nnx.Rngs(0)), time_major=True))
        in_features = shape.units
    graph, params, *others = nnx.split(nnx.Sequential(*layers), nnx.Param, ...)

    def run(params: PyTree, xs: jax.Array) -> jax.Array:
        # The map copies Flax's counters of random numbers, because Flax updates them in the trace that made them.
        return nnx.merge(graph, params, *jax.tree.map(lambda leaf: leaf, others))(xs)

    return _compiled_run(run, params, _inputs(shape), training)


def haiku(kind: str, shape: Shape, training: bool) -> Run | None:
    """Return `haiku.dynamic_unroll` over `haiku.LSTM` or `haiku.GRU`."""
    import haiku

    cells = {"LSTM": [haiku.LSTM], "GRU": [haiku.GRU], "2-layer LSTM": [haiku.LSTM] * 2}
    if kind not in cells:
        return None

    def run(xs: jax.Array) -> jax.Array:
        for cell in cells[kind]:
            core = cell(shape.units)
            xs, _ = haiku.dynamic_unroll(core, xs, core.initial_state(shape.batch))
        return xs

    model = haiku.without_apply_rng(haiku.transform(run))
    xs = _inputs(shape)
    return _compiled_run(model.apply, model.init(jax.random.key(0), xs), xs, training)


def keras(kind: str, shape: Shape, training: bool) -> Run | None:
    """Return Keras' layers on JAX, compiled with `stateless_call`."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from keras import Sequential, layers

    kinds = {"LSTM": [layers.LSTM], "GRU": [layers.GRU], "2-layer LSTM": [layers.LSTM] * 2}
    if kind not in kinds:
        return None
    model = Sequential([layer(shape.units, return_sequences=True) for layer in kinds[kind]])
    xs = jnp.swapaxes(_inputs(shape), 0, 1)
    model.build(xs.shape)
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    def run(trainable: PyTree, xs: jax.Array) -> jax.Array:
        ys: jax.Array = model.stateless_call(trainable, others, xs)[0]
        return ys

    return _compiled_run(run, trainable, xs, training)


def torch(kind: str, shape: Shape, training: bool) -> Run | None:
    """Return `torch.nn.LSTM` or `GRU`, or a Nested LSTM as a Python loop over steps, because PyTorch has none."""
    import torch as pytorch

    if kind == "own cell":
        return None
    pytorch.set_num_threads(len(os.sched_getaffinity(0)))
    xs = pytorch.tensor(np.asarray(_inputs(shape)), requires_grad=training)
    if kind.startswith("NLSTM"):
        forward, parameters = torch_nested(pytorch, int(kind[-1]), shape)
    else:
        forward, parameters = _torch_layer(pytorch, kind, shape)

    def train() -> None:
        for leaf in (xs, *parameters):
            leaf.grad = None
        (forward(xs) ** 2).sum().backward()

    def infer() -> None:
        with pytorch.inference_mode():
            forward(xs)

    return train if training else infer


def product(size: int = 1024) -> tuple[Run, float]:
    """Return a large matrix product and its floating-point operations, to measure the peak rate of the machine."""
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    return functools.partial(_run_to_end, jax.jit(jnp.matmul), matrix, matrix), 2.0 * size**3


def _torch_layer(pytorch: ModuleType, kind: str, shape: Shape) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Return a layer of PyTorch as a function of xs [T, B, D], and its parameters."""
    layer = pytorch.nn.GRU if kind == "GRU" else pytorch.nn.LSTM
    layers = 2 if kind == "2-layer LSTM" else 1
    module = layer(shape.inputs, shape.units, layers)
    return lambda xs: module(xs)[0], list(module.parameters())


def torch_nested(pytorch: ModuleType, depth: int, shape: Shape) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """Return a Nested LSTM in PyTorch as a function of xs [T, B, D], and its parameters."""
    gates = 4 * shape.units
    levels = []
    for width in [shape.inputs] + [shape.units] * (depth - 1):
        w_x = (0.1 * pytorch.randn(width, gates, dtype=pytorch.float32)).requires_grad_()
        w_h = (0.1 * pytorch.randn(shape.units, gates, dtype=pytorch.float32)).requires_grad_()
        levels.append([w_x, w_h, pytorch.zeros(gates, requires_grad=True)])

    def step(level: int, z: Tensor, h: Tensor, memories: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the output of a level, and the memories c of this level and all levels inside it.

        The memory of a level is the output of the next inner one.
        """
        i, f, g, o = (z + h @ levels[level][1]).chunk(4, -1)
        c, *inner = memories
        candidate = g if level == 0 and depth > 1 else pytorch.tanh(g)
        x = pytorch.sigmoid(i) * candidate
        kept = pytorch.sigmoid(f) * c
        if level == depth - 1:
            c = kept + x
        else:
            w_x, _, b = levels[level + 1]
            c, inner = step(level + 1, x @ w_x + b, kept, inner)
        return pytorch.sigmoid(o) * pytorch.tanh(c), [c, *inner]

    def run(xs: Tensor) -> Tensor:
        zs = xs @ levels[0][0] + levels[0][2]
        h, *memories = [pytorch.zeros(xs.shape[1], shape.units) for _ in range(depth + 1)]
        ys = []
        for z in zs:
            h, memories = step(0, z, h, memories)
            ys.append(h)
        return pytorch.stack(ys)

    return run, [leaf for level in levels for leaf in level]


def _inputs(shape: Shape) -> jax.Array:
    """Return random inputs [T, B, D]."""
    return jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))


def _compiled_run(
    forward: Callable[[PyTree, jax.Array], jax.Array], params: PyTree, xs: jax.Array, training: bool
) -> Run:
    """Return a forward pass or its training step as a compiled function without arguments."""

    def loss(params: PyTree, xs: jax.Array) -> jax.Array:
        return (forward(params, xs) ** 2).sum()

    if training:
        return functools.partial(_run_to_end, jax.jit(jax.grad(loss, (0, 1))), params, xs)
    return functools.partial(_run_to_end, jax.jit(forward), params, xs)


def _run_to_end(function: Callable[..., PyTree], *arguments: PyTree) -> None:
    """Call a function and wait for its result."""
    jax.block_until_ready(function(*arguments))


ALL: Mapping[str, Callable[[str, Shape, bool], Run | None]] = {
    "ours, one device": functools.partial(ours, mode="fused"),
    "ours, batch split": functools.partial(ours, mode="fused", split=True),
    "plain scan": functools.partial(ours, mode="scan"),
    "by hand, one device": by_hand,
    "PyTorch": torch,
    "Flax": flax,
    "Haiku": haiku,
    "Keras on JAX": keras,
}
"""The factories by name. In "batch split" the batch is split over one CPU device per core."""
