"""The fast loop against `jax.lax.scan`, and what makes it fast."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    Stack,
    nested_lstm,
    regularised,
)
from nlstm_jax.cells.base import no_noise
from nlstm_jax.unroll import fused, packed, unroll

KEY = jax.random.key(0)
T, B, D, H = 6, 3, 2, 4
NOISE = {"input_dropout": (0.2,), "recurrent_dropout": (0.3,), "weight_drop": (0.4,), "zoneout": (0.1,)}
CELLS = {
    "elman": Elman(H),
    "elman_relu": Elman(H, activation="relu", use_bias=False),
    "gru": GRU(H),
    "gru_reset_before": GRU(H, reset_after=False),
    "lstm": LSTM(H),
    "lstm_with_options": LSTM(H, peephole=True, projection=3, layer_norm=True),
    "lstm_activations": LSTM(H, candidate_activation="softsign", gate_activation="hard_sigmoid"),
    "nested_2": nested_lstm(H, 2),
    "nested_3_add": nested_lstm(H, 3, "add"),
    "stack": Stack((LSTM(H), GRU(3)), skip=True, dropout=0.3),
    "bidirectional": Bidirectional(LSTM(H), GRU(3)),
    "deep": DeepOutput(DeepTransition((GRU(H), GRU(H))), (3,)),
    "noisy": regularised(nested_lstm(H, 2), **NOISE),
}
HOLES = np.random.default_rng(1).random((T, B)) < 0.7
SEGMENTS = np.array([[1, 1, 2, 2, 2, 0], [0, 1, 1, 2, 3, 3], [1, 1, 1, 1, 1, 1]]).T
OPTIONS = {
    "plain": {},
    "holes": {"lengths": np.array([6, 0, 4]), "mask": HOLES, "reverse": True},
    "documents": packed(jnp.asarray(SEGMENTS))._asdict() | {"key": KEY},
}


def values_and_gradients(cell, params, xs, carry, mode, **options):
    """All that comes out, every carry too, and the gradient of a weighed sum of it by all that goes in."""
    given = jax.tree.map(jnp.asarray, (params, xs, carry))
    shapes = jax.eval_shape(lambda: unroll(cell, *given, return_carries=True))
    weights = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)
    return references.value_and_gradients(cell, *given, weights, mode=mode, return_carries=True, **options)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_it_equals_the_plain_scan_to_rounding(cell, options):
    example = references.example(cell, D, T, B)
    for x64, values, gradients in ((False, 1e-6, 1e-5), (True, 1e-12, 1e-12)):
        with jax.enable_x64(x64):
            found, expected = (values_and_gradients(cell, *example, mode, **options) for mode in ("fused", "scan"))
            assert jax.tree.leaves(found)[0].dtype == (jnp.float64 if x64 else jnp.float32)
            references.assert_trees_close(found[0], expected[0], values)
            references.assert_trees_close(found[1], expected[1], gradients)


class OwnParams(NamedTuple):
    """A matrix on the left, one for two gates, and a scalar."""

    left: jax.Array
    both: jax.Array
    scale: jax.Array


class OwnCarry(NamedTuple):
    """A memory, what stays as it is, and a counter in some."""

    h: jax.Array
    kept: jax.Array
    count: jax.Array


@jax.jit
def _mixed(x, y):
    return jax.nn.relu(x) + jnp.where(y > 0, y, jnp.expm1(y))


@dataclass(frozen=True)
class Own:
    """A cell of all that a user may write: jitted functions, matrices used twice, cut, cast, and on the left."""

    features: int
    count: str = "float32"
    prepare = staticmethod(no_noise)

    @property
    def out_features(self):
        return self.features

    def init(self, key, in_features):
        return OwnParams(*(jax.random.normal(key, shape) for shape in ((H, H), (H, 2 * H), ())))

    def initial_carry(self, batch_shape):
        zeros = jnp.zeros((*batch_shape, self.features))
        return OwnCarry(zeros, zeros, jnp.zeros(batch_shape, self.count))

    def project(self, params, x):
        return jnp.tile(x, 2)

    def step(self, params, carry, z, noise=(), read=None):
        first, second = jnp.split(params.both, 2, axis=-1)
        once = carry.h @ first + carry.h @ second.astype(jnp.bfloat16).astype(jnp.float32)
        twice = jnp.tanh(once) @ first * params.both[0, 0]
        left = (params.left @ carry.h[..., None])[..., 0]
        gate, piece, straight = jnp.split(jnp.concatenate([twice, left, z], -1), 3, axis=-1)
        y = jax.nn.sigmoid(gate) * jnp.tanh(piece) * params.scale + _mixed(straight, piece) + np.arange(H)
        y = y / (1 + jnp.linalg.norm(y, axis=-1, keepdims=True))
        return OwnCarry(y, carry.kept, carry.count + 1), jnp.concatenate([y[..., :2], jnp.ones_like(y[..., 2:])], -1)


@pytest.mark.parametrize("options", [OPTIONS["plain"], OPTIONS["holes"]], ids=["plain", "holes"])
def test_a_users_own_cell_is_served_whatever_is_in_it(options):
    example = references.example(Own(H), D, T, B)
    found, expected = (values_and_gradients(Own(H), *example, mode, **options) for mode in ("fused", "scan"))
    references.assert_trees_close(found, expected, 1e-5)


class Odd(NamedTuple):
    """A cell of one product, in whose step something stands that a loop must not lose or move."""

    change: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    features = out_features = H
    prepare = staticmethod(no_noise)
    project = staticmethod(lambda params, x: x @ params.left)

    def init(self, key, in_features):
        return OwnParams(*(jax.random.normal(key, shape) for shape in ((in_features, H), (H, H), ())))

    def initial_carry(self, batch_shape):
        zeros = jnp.zeros((*batch_shape, H))
        return OwnCarry(zeros, zeros, jnp.zeros(batch_shape))

    def step(self, params, carry, z, noise=(), read=None):
        h, y = self.change(params.both, carry.h, z)
        return carry._replace(h=h), y


@pytest.mark.parametrize("mode", ["auto", "fused"])
def test_what_a_step_prints_is_printed(mode, capfd):
    def change(w, h, z):
        h = jnp.tanh(z + h @ w)
        jax.debug.print("h {}", h[0, 0])
        return h, h

    cell = Odd(change)
    params = cell.init(KEY, D)
    jax.grad(lambda params: unroll(cell, params, jnp.ones((T, B, D)), mode=mode)[1].sum())(params)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("h ") == T


@jax.custom_vjp
def _clipped(w):
    return w


_clipped.defvjp(lambda w: (w, None), lambda _, bar: (jnp.clip(bar, -0.1, 0.1),))


def _clip_at_every_step(w, h, z):
    h = jnp.tanh(z + h @ _clipped(w))
    return h, h


def _logarithm(w, h, z):
    h = jnp.tanh(z + h @ w)
    return h, jnp.log(jax.nn.sigmoid(h - 20))


@pytest.mark.parametrize("change", [_clip_at_every_step, _logarithm])
def test_what_stands_in_a_step_is_not_moved_out_of_it_nor_rounded_away(change):
    cell = Odd(change)
    params = cell.init(KEY, D)
    xs = jax.random.normal(KEY, (T, B, D))
    carry = cell.initial_carry((B,))
    found, expected = (values_and_gradients(cell, params, xs, carry, mode) for mode in ("fused", "scan"))
    references.assert_trees_close(found, expected, 1e-5)


def test_a_carry_that_has_no_gradient_is_scanned_and_refused_by_name():
    cell = Own(H, count="int32")
    params, xs, _ = references.example(cell, D, T, B)
    carry, _ = references.run(cell, params, xs)
    assert carry.count.dtype == jnp.int32
    np.testing.assert_array_equal(carry.count, np.full(B, T))
    with pytest.raises(
        ValueError, match=r"^unroll: mode='fused': a carry of floats expected, .*int32 in Own\(features="
    ):
        references.run(cell, params, xs, mode="fused")


@pytest.mark.parametrize("name", ["gru", "nested_2"])
def test_only_what_a_gradient_is_asked_of_need_have_one(name):
    cell = CELLS[name]
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    losses = {
        "carry": lambda results: sum(leaf.sum() for leaf in jax.tree.leaves(results[0])),
        "ys": lambda results: (results[1] ** 2).sum(),
        "nothing": lambda results: jnp.float32(3),
    }
    for loss in losses.values():
        for place in range(3):

            def of_one(value, mode, place=place, loss=loss):
                given = [params, xs, carry]
                given[place] = value
                return loss(unroll(cell, *given, mode=mode))

            grad = references.compiled(jax.grad(of_one), static_argnums=1)
            value = (params, xs, carry)[place]
            references.assert_trees_close(grad(value, "fused"), grad(value, "scan"), 1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_it_can_be_vmapped(axes):
    cell = CELLS["nested_2"]
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    many = [
        jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), tree) if axis == 0 else tree
        for axis, tree in zip(axes, (params, xs), strict=True)
    ]

    def gradients(mode):
        grad = jax.grad(lambda params, xs: (unroll(cell, params, xs, carry, mode=mode)[1] ** 2).sum(), (0, 1))
        return references.compiled(jax.vmap(grad, axes))(*many)

    references.assert_trees_close(gradients("fused"), gradients("scan"), 1e-5)


def test_second_derivatives_are_those_of_the_scan():
    cell = CELLS["lstm"]
    params, xs, carry = references.example(cell, D, T, B)

    @functools.partial(references.compiled, static_argnums=1)
    def hessian(x, mode):
        def loss(x):
            return (unroll(cell, params, xs.at[0, 0].set(x), carry, mode=mode)[1] ** 2).sum()

        return jax.hessian(loss)(x), jax.jacrev(jax.grad(loss))(x)

    with jax.enable_x64(True):
        params, xs, carry = jax.tree.map(jnp.asarray, (params, xs, carry))
        found, expected = hessian(xs[0, 0], "fused"), hessian(xs[0, 0], "scan")
    references.assert_trees_close(found, expected, 1e-12)
    assert np.abs(expected[0]).max() > 1e-3


def test_forward_mode_is_the_plain_scans():
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(CELLS["lstm"], D, T, B))

    def ys(xs, mode):
        return unroll(CELLS["lstm"], params, xs, carry, mode=mode)[1]

    _, tangents = jax.jvp(lambda xs: ys(xs, "scan"), (xs,), (jnp.ones_like(xs),))
    assert np.abs(tangents).max() > 1e-3
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda xs: ys(xs, "fused"), (xs,), (jnp.ones_like(xs),))


@pytest.mark.parametrize("shape", [(0, B), (T, 0), (1, 1)])
def test_nothing_and_little_are_served(shape):
    cell = CELLS["nested_2"]
    params, xs, carry = references.example(cell, D, *shape)
    for found, expected in zip(
        *(values_and_gradients(cell, params, xs, carry, mode) for mode in ("fused", "scan")), strict=True
    ):
        references.assert_trees_close(found, expected, 1e-5)


def loops(cell, mode):
    """The loops of a training step: (shapes of the carry, names of primitives, shapes of what is stacked)."""
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    grad = jax.grad(lambda params: (unroll(cell, params, xs, carry, mode=mode)[1] ** 2).sum())
    found = []
    for equation in jax.make_jaxpr(grad)(params).jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"].jaxpr
            inside, outside = ([var.aval.shape for var in each] for each in (body.outvars, equation.outvars))
            # What is stacked has one more axis outside.
            carries = [shape for shape, outer in zip(inside, outside, strict=True) if shape == outer]
            names = [inner.primitive.name for inner in body.eqns]
            found.append((carries, names, outside[len(carries) :]))
    return found


@pytest.mark.parametrize(("name", "depth"), [("lstm", 1), ("nested_2", 2), ("nested_3_add", 3)])
def test_the_loop_back_sums_no_weights_and_bends_nothing(name, depth):
    forward, back = loops(CELLS[name], "fused")
    assert len(loops(CELLS[name], "scan")) == 2
    # As many products as the equations have, and as many on the way back.
    assert (forward[1].count("dot_general"), back[1].count("dot_general")) == (2 * depth - 1, 2 * depth - 1)
    assert not {"tanh", "logistic", "exp"}.intersection(back[1])
    # Gates i and f of a level are one pass, o is another.
    assert forward[1].count("logistic") == 2 * depth
    # tanh(c) of each level, and tanh(g) of each but the outermost of a nested one.
    assert forward[1].count("tanh") == depth + max(depth - 1, 1)
    # Biases of the levels inside are summed in the loop, as no input's cotangent is theirs; no weight is.
    assert set(back[0]) <= {(B, H), (1, 4 * H)}
    assert len([shape for shape in back[2] if shape == (T, B, 4 * H)]) == depth


def test_a_step_of_an_lstm_stores_its_gates_memory_and_output():
    (_, _, stacked), _ = loops(CELLS["lstm"], "fused")
    # y, and c and h before the step, i, f, g, o, tanh(c).
    assert stacked == [(T, B, H)] * 8


def test_what_is_ahead_of_the_loop_is_differentiated_as_it_is():
    def function(params, x):
        return {"z": jnp.tanh(x @ params["w"]) @ params["w"] + params["b"], "x": 2 * x}

    generator = np.random.default_rng(0)
    params = {"w": generator.standard_normal((3, 3)), "b": generator.standard_normal(3)}
    x = generator.standard_normal((T, B, 3))

    def loss(run, params, x):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(run(params, x)))

    plain, ours = (
        jax.jit(jax.value_and_grad(functools.partial(loss, run), (0, 1)))
        for run in (function, functools.partial(fused.ahead, function))
    )
    references.assert_trees_close(ours(params, x), plain(params, x), 1e-5)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_it_can_be_lowered_for_accelerators(platform, dtype):
    """A gradient, with marks, noise and blocks, for machines that are not here."""
    cell = regularised(nested_lstm(H, 3, dtype=dtype), **NOISE)
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))

    def loss(params, xs, key):
        options = {"lengths": jnp.array([6, 0, 4]), "mask": jnp.asarray(HOLES), "remat": True}
        return (unroll(cell, params, xs, key=key, mode="fused", **options)[1] ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    exported = jax.export.export(gradient, platforms=[platform])(params, xs, jax.random.key(0))
    assert exported.platforms == (platform,)
    assert "stablehlo.while" in exported.mlir_module()
