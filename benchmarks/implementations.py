"""The same recurrent layer in every framework: a training step (all gradients of Σ y²), or a forward pass alone.

Each factory takes the shape and what to do and returns a function that does it once and returns when it is done. All
implementations have as many parameters as ours, up to PyTorch's second bias.
"""

import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import handwritten
from benchmarks.own_cell import Coupled
from nlstm_jax import unroll
from nlstm_jax.cells import GRU, LSTM, Layer, Stack, nested_lstm
from nlstm_jax.training.parallel import make_mesh, replicate, split_axis

KINDS: dict[str, Callable[[int], Layer]] = {
    "LSTM": LSTM,
    "GRU": GRU,
    "2-layer LSTM": lambda features: Stack((LSTM(features),) * 2),
    "NLSTM depth 2": lambda features: nested_lstm(features, 2),
    "NLSTM depth 3": lambda features: nested_lstm(features, 3),
    "own cell": Coupled,
}


class Shape(NamedTuple):
    """Steps, batch, inputs and units."""

    steps: int
    batch: int
    inputs: int
    units: int

    def operations(self, kind: str, training: bool) -> float:
        """Floating-point operations of the products, forward and, in training, back."""
        gates = 3 if kind in ("GRU", "own cell") else 4
        levels = {"2-layer LSTM": 2, "NLSTM depth 2": 2, "NLSTM depth 3": 3}.get(kind, 1)
        widths = self.inputs + (2 * levels - 1) * self.units
        return (3 if training else 1) * 2 * gates * self.batch * self.steps * self.units * widths


def ours(kind: str, shape: Shape, training: bool, *, mode: str, split: bool = False) -> Callable[[], Any] | None:
    """`unroll`, on one device, or the batch split over all."""
    if split and (jax.device_count() == 1 or shape.batch % jax.device_count()):
        return None
    layer = KINDS[kind](shape.units)
    params, xs = layer.init(jax.random.key(0), shape.inputs), _inputs(shape)
    if split:
        mesh = make_mesh({"batch": shape.batch})
        params, xs = replicate(params, mesh), split_axis(xs, mesh, 1)
    return _jitted(lambda params, xs: unroll(layer, params, xs, mode=mode)[1], params, xs, training)


def by_hand(kind: str, shape: Shape, training: bool) -> Callable[[], Any] | None:
    """The backward pass written for one cell."""
    if kind != "LSTM":
        return None
    params = KINDS[kind](shape.units).init(jax.random.key(0), shape.inputs)
    return _jitted(handwritten.lstm, params, _inputs(shape), training)


def flax(kind: str, shape: Shape, training: bool) -> Callable[[], Any] | None:
    """`flax.nnx.RNN` around `OptimizedLSTMCell` or `GRUCell`."""
    from flax import nnx

    cells: dict[str, list[Any]] = {
        "LSTM": [nnx.OptimizedLSTMCell],
        "GRU": [nnx.GRUCell],
        "2-layer LSTM": [nnx.OptimizedLSTMCell] * 2,
    }
    if kind not in cells:
        return None
    widths = [shape.inputs, shape.units]
    layers = nnx.Sequential(
        *[
            nnx.RNN(cell(width, shape.units, rngs=nnx.Rngs(0)), time_major=True)
            for cell, width in zip(cells[kind], widths, strict=False)
        ]
    )
    graph, params, *others = nnx.split(layers, nnx.Param, ...)

    def run(params: Any, xs: jax.Array) -> jax.Array:
        # The map makes Flax' counters of random numbers anew, which it wants in the trace that moves them.
        return nnx.merge(graph, params, *jax.tree.map(lambda leaf: leaf, others))(xs)

    return _jitted(run, params, _inputs(shape), training)


def haiku(kind: str, shape: Shape, training: bool) -> Callable[[], Any] | None:
    """`haiku.dynamic_unroll` over `haiku.LSTM` or `haiku.GRU`."""
    import haiku

    cells: dict[str, list[Any]] = {"LSTM": [haiku.LSTM], "GRU": [haiku.GRU], "2-layer LSTM": [haiku.LSTM] * 2}
    if kind not in cells:
        return None

    def run(xs: jax.Array) -> jax.Array:
        for cell in cells[kind]:
            core = cell(shape.units)
            xs, _ = haiku.dynamic_unroll(core, xs, core.initial_state(shape.batch))
        return xs

    model, xs = haiku.without_apply_rng(haiku.transform(run)), _inputs(shape)
    return _jitted(model.apply, model.init(jax.random.key(0), xs), xs, training)


def keras(kind: str, shape: Shape, training: bool) -> Callable[[], Any] | None:
    """Keras' layers on JAX, compiled with `stateless_call`."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    from keras import Sequential, layers

    kinds: dict[str, list[Any]] = {"LSTM": [layers.LSTM], "GRU": [layers.GRU], "2-layer LSTM": [layers.LSTM] * 2}
    if kind not in kinds:
        return None
    model = Sequential([layer(shape.units, return_sequences=True) for layer in kinds[kind]])
    xs = jnp.swapaxes(_inputs(shape), 0, 1)
    model.build(xs.shape)
    variables = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]
    return _jitted(lambda variables, xs: model.stateless_call(variables, rest, xs)[0], variables, xs, training)


def torch(kind: str, shape: Shape, training: bool) -> Callable[[], Any] | None:
    """`torch.nn.LSTM` or `GRU`; an NLSTM as a loop over steps in Python, as PyTorch has none."""
    import torch as pytorch

    if kind == "own cell":
        return None
    pytorch.set_num_threads(len(os.sched_getaffinity(0)))
    xs = pytorch.tensor(np.asarray(_inputs(shape)), requires_grad=training)
    if kind.startswith("NLSTM"):
        run, parameters = torch_nested(pytorch, int(kind[-1]), shape)
    else:
        layer = pytorch.nn.GRU if kind == "GRU" else pytorch.nn.LSTM
        module = layer(shape.inputs, shape.units, 2 if kind == "2-layer LSTM" else 1)
        run, parameters = (lambda xs: module(xs)[0]), list(module.parameters())

    def train() -> None:
        for leaf in (xs, *parameters):
            leaf.grad = None
        (run(xs) ** 2).sum().backward()

    def infer() -> None:
        with pytorch.inference_mode():
            run(xs)

    return train if training else infer


def product(size: int = 1024) -> tuple[Callable[[], Any], float]:
    """A large matrix product, and its floating-point operations: what the machine can do at most."""
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    return functools.partial(_done, jax.jit(jnp.matmul), matrix, matrix), 2.0 * size**3


def torch_nested(pytorch: Any, depth: int, shape: Shape) -> tuple[Callable[[Any], Any], list[Any]]:
    """A Nested LSTM in PyTorch, as a function of xs [T, B, D], and its parameters."""
    draw = functools.partial(pytorch.randn, dtype=pytorch.float32)
    widths = [shape.inputs] + [shape.units] * (depth - 1)
    levels = [
        [(0.1 * draw(rows, 4 * shape.units)).requires_grad_() for rows in (width, shape.units)]
        + [pytorch.zeros(4 * shape.units, requires_grad=True)]
        for width in widths
    ]

    def step(level: int, z: Any, h: Any, memories: list[Any]) -> tuple[Any, list[Any]]:
        """The output of this level, and the memories from here inwards: each level's c, which is the next one's h."""
        i, f, g, o = (z + h @ levels[level][1]).chunk(4, -1)
        c, *inner = memories
        x = pytorch.sigmoid(i) * (g if level == 0 and depth > 1 else pytorch.tanh(g))
        kept = pytorch.sigmoid(f) * c
        if level == depth - 1:
            c = kept + x
        else:
            w_x, _, b = levels[level + 1]
            c, inner = step(level + 1, x @ w_x + b, kept, inner)
        return pytorch.sigmoid(o) * pytorch.tanh(c), [c, *inner]

    def run(xs: Any) -> Any:
        z = xs @ levels[0][0] + levels[0][2]
        h, *memories = [pytorch.zeros(xs.shape[1], shape.units) for _ in range(depth + 1)]
        ys = []
        for each in z:
            h, memories = step(0, each, h, memories)
            ys.append(h)
        return pytorch.stack(ys)

    return run, [leaf for level in levels for leaf in level]


def _inputs(shape: Shape) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))


def _jitted(run: Callable[[Any, Any], jax.Array], params: Any, xs: jax.Array, training: bool) -> Callable[[], Any]:
    function = jax.grad(lambda params, xs: (run(params, xs) ** 2).sum(), (0, 1)) if training else run
    return functools.partial(_done, jax.jit(function), params, xs)


def _done(function: Callable[..., Any], *arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


ALL: dict[str, Callable[[str, Shape, bool], Callable[[], Any] | None]] = {
    "ours, one device": functools.partial(ours, mode="fused"),
    "ours, batch split": functools.partial(ours, mode="fused", split=True),
    "plain scan": functools.partial(ours, mode="scan"),
    "by hand, one device": by_hand,
    "PyTorch": torch,
    "Flax": flax,
    "Haiku": haiku,
    "Keras on JAX": keras,
}
"""By name; "batch split": over one device for every core."""
