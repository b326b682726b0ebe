"""The fused loop: it equals `jax.lax.scan`, and has the structure that makes it fast."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D, H, Own, OwnCarry, OwnParams

from nlstm_jax.cells import nested_lstm, with_regularizers
from nlstm_jax.cells.base import no_noise
from nlstm_jax.unroll import fused, packed, unroll

KEY = jax.random.key(0)
T, B = 6, 3
NOISE = {"input_dropout": (0.2,), "recurrent_dropout": (0.3,), "weight_drop": (0.4,), "zoneout": (0.1,)}
CELLS = zoo.cells("fused")
NESTED = CELLS["nested_2_multiply"]
HOLES = np.random.default_rng(1).random((T, B)) < 0.7
SEGMENTS = np.array([[1, 1, 2, 2, 2, 0], [0, 1, 1, 2, 3, 3], [1, 1, 1, 1, 1, 1]]).T
OPTIONS = {
    "plain": {},
    "holes": {"lengths": np.array([6, 0, 4]), "mask": HOLES, "reverse": True},
    "documents": packed(jnp.asarray(SEGMENTS))._asdict() | {"key": KEY},
}


@functools.cache
def weights_of(cell, steps, batch):
    """Return weights for all results, every carry included."""
    given = jax.tree.map(jnp.asarray, references.example(cell, D, steps, batch))
    shapes = jax.eval_shape(lambda: unroll(cell, *given, return_carries=True, mode="scan"))
    return jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)


def values_and_gradients(cell, params, xs, carry, mode, **options):
    """Return all results, every carry included, and the gradients of a weighted sum of them by all arguments."""
    given = jax.tree.map(jnp.asarray, (params, xs, carry))
    weights = weights_of(cell, *xs.shape[:2])
    return references.value_and_gradients(cell, *given, weights, mode=mode, return_carries=True, **options)


def assert_equals_scan(cell, x64, **options):
    """Assert that values and gradients of the fused loop equal those of the plain scan, to rounding."""
    example = references.example(cell, D, T, B)
    values, gradients = (1e-12, 1e-12) if x64 else (1e-6, 1e-5)
    with jax.enable_x64(x64):
        found, expected = (values_and_gradients(cell, *example, mode, **options) for mode in ("fused", "scan"))
        assert jax.tree.leaves(found)[0].dtype == (jnp.float64 if x64 else jnp.float32)
        references.assert_trees_close(found[0], expected[0], values)
        references.assert_trees_close(found[1], expected[1], gradients)


# Each cell, each option and each precision by default, and every cell that draws noise with a key.
BY_DEFAULT = {
    "plain": ("elman", "lstm"),
    "holes": ("gru", "nested_2_multiply", "bidirectional"),
    "documents": (
        "elman_relu_no_bias",
        "gru_reset_before",
        "lstm_options",
        "lstm_activations",
        "nested_3_add",
        "stack_dropout",
        "deep_output_transition",
        "nested_all_noise",
    ),
}
IN_FLOAT32 = (("lstm_options", "holes"), ("nested_3_add", "plain"))


def combinations():
    for name in CELLS:
        for options in OPTIONS:
            for x64 in (False, True):
                quick = name in BY_DEFAULT[options] if x64 else (name, options) in IN_FLOAT32
                case = f"{name}-{options}-{'float64' if x64 else 'float32'}"
                yield pytest.param(name, options, x64, id=case, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "options", "x64"), list(combinations()))
def test_it_equals_the_plain_scan_to_rounding(name, options, x64):
    assert_equals_scan(CELLS[name], x64, **OPTIONS[options])


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow, id="plain"), pytest.param(OPTIONS["holes"], id="holes")]
)
def test_a_users_own_cell_equals_the_plain_scan(options):
    cell = zoo.build("own")
    example = references.example(cell, D, T, B)
    found, expected = (values_and_gradients(cell, *example, mode, **options) for mode in ("fused", "scan"))
    references.assert_trees_close(found, expected, 1e-5)


class Odd(NamedTuple):
    """A cell of one matmul, whose step has an operation that a loop must not lose or move."""

    change: Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    features = out_features = H
    sample_noise = staticmethod(no_noise)
    project = staticmethod(lambda params, x: x @ params.left)

    def init(self, key, in_features):
        return OwnParams(*(jax.random.normal(key, shape) for shape in ((in_features, H), (H, H), ())))

    def initial_carry(self, batch_shape):
        zeros = jnp.zeros((*batch_shape, H))
        return OwnCarry(zeros, zeros, jnp.zeros(batch_shape))

    def step(self, params, carry, z, noise=(), recurrent_input=None):
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


LOSSES = {
    "carry": lambda results: sum(leaf.sum() for leaf in jax.tree.leaves(results[0])),
    "ys": lambda results: (results[1] ** 2).sum(),
    "nothing": lambda results: jnp.float32(3),
}
BY = ("params", "xs", "carry")
LOSS_AND_BY_DEFAULT = (("nested_2_multiply", "carry", "params"), ("nested_2_multiply", "ys", "xs"))
LOSS_AND_BY_DEFAULT += (("gru", "nothing", "carry"), ("gru", "ys", "carry"))


@pytest.mark.parametrize(
    ("name", "loss", "by"),
    [
        pytest.param(*case, marks=() if case in LOSS_AND_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(("gru", "nested_2_multiply"), LOSSES, BY)
    ],
)
def test_gradients_of_one_result_by_one_argument_are_the_scans(name, loss, by):
    """Results that the loss does not depend on, and arguments that are not differentiated, need no cotangent."""
    cell, place = CELLS[name], BY.index(by)
    given = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))

    def of_one(value, mode):
        arguments = (*given[:place], value, *given[place + 1 :])
        return LOSSES[loss](unroll(cell, *arguments, mode=mode))

    gradient = references.compiled(jax.grad(of_one), static_argnums=1)
    references.assert_trees_close(gradient(given[place], "fused"), gradient(given[place], "scan"), 1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), pytest.param((0, 0), marks=pytest.mark.slow)])
def test_it_can_be_vmapped(axes):
    cell = NESTED
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    many = [
        jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), tree) if axis == 0 else tree
        for axis, tree in zip(axes, (params, xs), strict=True)
    ]

    def gradients(mode):
        grad = jax.grad(lambda params, xs: (unroll(cell, params, xs, carry, mode=mode)[1] ** 2).sum(), (0, 1))
        return references.compiled(jax.vmap(grad, axes))(*many)

    references.assert_trees_close(gradients("fused"), gradients("scan"), 1e-5)


@pytest.mark.slow
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
    cell = NESTED
    params, xs, carry = references.example(cell, D, *shape)
    for found, expected in zip(
        *(values_and_gradients(cell, params, xs, carry, mode) for mode in ("fused", "scan")), strict=True
    ):
        references.assert_trees_close(found, expected, 1e-5)


def loops(cell, mode):
    """Return for each loop of a training step (shapes of the carry, names of primitives, shapes of stacked arrays)."""
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


@pytest.mark.parametrize(("name", "depth"), [("lstm", 1), ("nested_2_multiply", 2), ("nested_3_add", 3)])
def test_the_loop_back_sums_no_weights_and_bends_nothing(name, depth):
    forward, back = loops(CELLS[name], "fused")
    assert len(loops(CELLS[name], "scan")) == 2
    # As many products as the equations have, and as many on the way back.
    assert (forward[1].count("dot_general"), back[1].count("dot_general")) == (2 * depth - 1, 2 * depth - 1)
    assert not {"tanh", "logistic", "exp"}.intersection(back[1])
    # The gates i, f and o of a level are one pass.
    assert forward[1].count("logistic") == depth
    # tanh(c) of each level, and tanh(g) of each but the outermost of a nested one.
    assert forward[1].count("tanh") == depth + max(depth - 1, 1)
    # Biases of the levels inside are summed in the loop, as no input's cotangent is theirs; no weight is.
    assert set(back[0]) <= {(B, H), (1, 4 * H)}
    assert len([shape for shape in back[2] if shape == (T, B, 4 * H)]) == depth


def test_a_step_of_an_lstm_stores_its_gates_memory_and_output():
    (_, _, stacked), _ = loops(CELLS["lstm"], "fused")
    # y, and c and h before the step, i, f, g, o, tanh(c).
    assert stacked == [(T, B, H)] * 8


def test_an_input_that_a_step_does_not_use_has_a_gradient_of_zero():
    """Its cotangent at every step is a literal, and the input a scalar."""

    def body(w, carry, inputs):
        x, _ = inputs
        carry = jnp.tanh(x + carry @ w)
        return carry, carry

    generator = np.random.default_rng(1)
    w = generator.standard_normal((3, 3))
    xs = generator.standard_normal((T, B, 3))
    unused = generator.standard_normal(T)

    def loss(w, xs, unused):
        _, ys = fused.scan(body, w, jnp.zeros((B, 3)), (xs, unused), T, False)
        return (ys**2).sum()

    def plain(w, xs, unused):
        _, ys = jax.lax.scan(functools.partial(body, w), jnp.zeros((B, 3)), (xs, unused))
        return (ys**2).sum()

    ours, expected = (jax.jit(jax.grad(function, (0, 1, 2)))(w, xs, unused) for function in (loss, plain))
    references.assert_trees_close(ours, expected, 1e-5)


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
        for run in (function, functools.partial(fused.hoisted, function))
    )
    references.assert_trees_close(ours(params, x), plain(params, x), 1e-5)


@pytest.mark.parametrize(
    "dtype", [pytest.param(None, marks=pytest.mark.slow), jnp.bfloat16], ids=["float32", "bfloat16"]
)
def test_it_can_be_lowered_for_accelerators(dtype):
    """Lower a gradient with masks, noise and blocks for machines that are not present."""
    cell = with_regularizers(nested_lstm(H, 3, dtype=dtype), **NOISE)
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))

    def loss(params, xs, key):
        options = {"lengths": jnp.array([6, 0, 4]), "mask": jnp.asarray(HOLES), "remat": True}
        return (unroll(cell, params, xs, key=key, mode="fused", **options)[1] ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    exported = jax.export.export(gradient, platforms=["cuda", "tpu"])(params, xs, jax.random.key(0))
    assert exported.platforms == ("cuda", "tpu")
    assert "stablehlo.while" in exported.mlir_module()
