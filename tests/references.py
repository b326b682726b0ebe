"""The cells once more, written for the proof alone: plain NumPy, one example, one step at a time.

A reference is made of the options that change the equations and is then a function
`step(params, carry, x) -> carry, y` on the vectors of one example. `params` and `carry` are the cell's own
tuples with NumPy arrays as leaves. Nothing here comes from the package but `unroll`, the thing compared.

Every function works on complex numbers as well, because gradients are taken by the complex step of Squire &
Trapp (1998, "Using complex variables to estimate derivatives of real functions", SIAM Review 40): for a real
analytic f, df/dp = Im f(p + ih) / h up to O(h²). Nothing is subtracted: h = 1e-30 is exact to rounding.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.unroll import unroll as unroll_under_test

Tree = Any
Step = Callable[[Tree, Tree, np.ndarray], tuple[Tree, np.ndarray]]

STEP = 1e-30


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {
    "identity": lambda z: z,
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "hard_sigmoid": lambda z: np.where(z.real < -3, 0, np.where(z.real > 3, 1, z / 6 + 0.5)),
    "hard_sigmoid_keras2": lambda z: np.where(z.real < -2.5, 0, np.where(z.real > 2.5, 1, 0.2 * z + 0.5)),
    "softsign": lambda z: z / (1 + np.sign(z.real) * z),
}
GATINGS = {"multiply": lambda gate, value: gate * value, "add": lambda gate, value: gate + value}


def normalised(z, norm, epsilon):
    centred = z - z.mean()
    return norm.gain * centred / np.sqrt((centred * centred).mean() + epsilon) + norm.shift


def elman(activation="tanh", use_bias=True) -> Step:
    def step(p, carry, x):
        bias = p.b if use_bias else 0
        h = ACTIVATIONS[activation](x @ p.w_x + carry.h @ p.w_h + bias)
        return carry._replace(h=h), h

    return step


def gru(reset_after=True, candidate_activation="tanh", gate_activation="sigmoid", use_bias=True) -> Step:
    gate, candidate = ACTIVATIONS[gate_activation], ACTIVATIONS[candidate_activation]

    def step(p, carry, x):
        h = carry.h
        x_r, x_z, x_n = np.split(x @ p.w_x, 3)
        w_r, w_z, w_n = np.split(p.w_h, 3, axis=1)
        b_r, b_z, b_n = np.split(p.b, 3) if use_bias else (0, 0, 0)
        r = gate(x_r + h @ w_r + b_r)
        z = gate(x_z + h @ w_z + b_z)
        if reset_after:
            inside = p.b_n if use_bias else 0
            n = candidate(x_n + b_n + r * (h @ w_n + inside))
        else:
            n = candidate(x_n + (r * h) @ w_n + b_n)
        h = (1 - z) * n + z * h
        return carry._replace(h=h), h

    return step


def lstm(
    gating="multiply",
    candidate_activation="tanh",
    output_activation="tanh",
    gate_activation="sigmoid",
    peephole=False,
    projection=None,
    layer_norm=False,
    norm_epsilon=1e-5,
    use_bias=True,
) -> Step:
    gate, combine = ACTIVATIONS[gate_activation], GATINGS[gating]

    def step(p, carry, x):
        c = carry.c
        from_input, from_output = x @ p.w_x, carry.h @ p.w_h
        if layer_norm:
            from_input = normalised(from_input, p.norm.x, norm_epsilon)
            from_output = normalised(from_output, p.norm.h, norm_epsilon)
        i, f, g, o = np.split(from_input + from_output + (p.b if use_bias else 0), 4)
        if peephole:
            i = i + p.peephole[0] * c
            f = f + p.peephole[1] * c
        c = gate(f) * c + combine(gate(i), ACTIVATIONS[candidate_activation](g))
        if peephole:
            o = o + p.peephole[2] * c
        shown = normalised(c, p.norm.c, norm_epsilon) if layer_norm else c
        h = gate(o) * ACTIVATIONS[output_activation](shown)
        if projection is not None:
            h = h @ p.w_p
        return carry._replace(c=c, h=h), h

    return step


def nested(
    inner: Step,
    gating="multiply",
    candidate_activation="identity",
    output_activation="tanh",
    gate_activation="sigmoid",
    use_bias=True,
) -> Step:
    """One level around any reference whose carry has an h."""
    gate, combine = ACTIVATIONS[gate_activation], GATINGS[gating]

    def step(p, carry, x):
        i, f, g, o = np.split(x @ p.w_x + carry.h @ p.w_h + (p.b if use_bias else 0), 4)
        kept = gate(f) * carry.inner.h
        memory, c = inner(
            p.inner, carry.inner._replace(h=kept), combine(gate(i), ACTIVATIONS[candidate_activation](g))
        )
        h = gate(o) * ACTIVATIONS[output_activation](c)
        return carry._replace(h=h, inner=memory), h

    return step


def nested_lstm(depth: int, gating="multiply") -> Step:
    """The nested LSTM of the paper without recursion: on the way in the gates, on the way out the outputs.

    Of the N + 1 vectors of its state, s[0] is the output, s[k + 1] the memory of level k.
    """

    def step(p, carry, x):
        levels, state, below = [], [], carry
        for _ in range(depth - 1):
            levels.append(p)
            state.append(below.h)
            p, below = p.inner, below.inner
        levels.append(p)
        state += [below.h, below.c]

        entering, hidden, opening = x, state[0], []
        for k, level in enumerate(levels):
            i, f, g, o = np.split(entering @ level.w_x + hidden @ level.w_h + level.b, 4)
            candidate = g if k == 0 else np.tanh(g)
            entering = sigmoid(i) * candidate if gating == "multiply" else sigmoid(i) + candidate
            hidden = sigmoid(f) * state[k + 1]
            opening.append(sigmoid(o))
        state[depth] = hidden + entering
        for k in reversed(range(depth)):
            state[k] = opening[k] * np.tanh(state[k + 1])

        def packed(carry, k):
            if k == depth - 1:
                return carry._replace(c=state[depth], h=state[k])
            return carry._replace(h=state[k], inner=packed(carry.inner, k + 1))

        return packed(carry, 0), state[0]

    return step


def stack(*layers: Step, skip=False, residual=False) -> Step:
    def step(p, carry, x):
        new, y = [], x
        for number, (layer, weights, own) in enumerate(zip(layers, p.layers, carry.layers, strict=True)):
            below = y
            seen = np.concatenate([below, x]) if skip and number > 0 else below
            own, y = layer(weights, own, seen)
            if residual and number > 0 and y.shape == below.shape:
                y = y + below
            new.append(own)
        return carry._replace(layers=tuple(new)), y

    return step


def unroll(step: Step, params, xs, carry, lengths=None, mask=None, resets=None, reverse=False):
    """Each example by itself, over its valid steps alone: (last carry, outputs, carry after every step)."""
    length, batch, _ = xs.shape
    last, outputs, history = [], [], []
    for b in range(batch):
        own = jax.tree.map(lambda leaf, b=b: leaf[b], carry)
        silence = np.zeros_like(step(params, own, np.zeros(xs.shape[-1]))[1])
        ys, carries = [silence] * length, [own] * length
        end = length if lengths is None else int(lengths[b])
        for t in reversed(range(end)) if reverse else range(end):
            if resets is not None and resets[t, b]:
                own = jax.tree.map(np.zeros_like, own)
            if mask is None or mask[t, b]:
                own, ys[t] = step(params, own, xs[t, b])
            carries[t] = own
        if not reverse:
            carries[end:] = [own] * (length - end)
        last.append(own)
        outputs.append(np.stack(ys))
        history.append(jax.tree.map(lambda *steps: np.stack(steps), *carries))
    return (
        jax.tree.map(lambda *examples: np.stack(examples), *last),
        np.stack(outputs, axis=1),
        jax.tree.map(lambda *examples: np.stack(examples, axis=1), *history),
    )


def complex_step_gradient(f: Callable[[Tree], Any], tree: Tree) -> Tree:
    """The gradient of the real analytic function f at a tree of NumPy arrays, one evaluation a number."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.array(leaf, dtype=np.complex128) for leaf in leaves]
    moved = structure.unflatten(leaves)
    gradients = []
    for leaf in leaves:
        gradient = np.zeros(leaf.shape)
        for index in np.ndindex(leaf.shape):
            here = leaf[index]
            leaf[index] = here + 1j * STEP
            gradient[index] = f(moved).imag / STEP
            leaf[index] = here
        gradients.append(gradient)
    return structure.unflatten(gradients)


def normal_like(tree: Tree, generator: np.random.Generator, scale=0.6) -> Tree:
    """Float64 normal numbers in the shapes of a tree: no gain of one and no bias of zero hides a mistake."""
    return jax.tree.map(lambda leaf: scale * generator.standard_normal(leaf.shape), tree)


def example(cell, in_features=3, steps=4, batch=2, seed=0):
    """Random (params, xs, start carry) for a cell; float64, which JAX by default takes as float32."""
    generator = np.random.default_rng(seed)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))
    carry = jax.eval_shape(lambda: cell.initial_carry((batch,)))
    xs = generator.standard_normal((steps, batch, in_features))
    return normal_like(params, generator), xs, normal_like(carry, generator)


def weigh(weights: Tree, results: Tree):
    """A scalar that depends on every number of the results."""
    pairs = zip(jax.tree.leaves(weights), jax.tree.leaves(results), strict=True)
    return sum((weight * leaf).sum() for weight, leaf in pairs)


# Compiling is most of what these tests take. conftest.py has further flags, for the versions of XLA that know them.
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}
compiled = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)

run = compiled(unroll_under_test, static_argnames=("cell", "reverse", "return_carries", "mode"))
"""The package's `unroll`, compiled."""


@functools.partial(compiled, static_argnames=("cell", "reverse", "mode", "return_carries", "remat", "truncate"))
def value_and_gradients(
    cell,
    params,
    xs,
    carry,
    weights,
    lengths=None,
    mask=None,
    resets=None,
    reverse=False,
    **options,
):
    """The package's side: ((carry, ys), (gradients of the weighed sum by params, xs and carry))."""

    def loss(params, xs, carry):
        results = unroll_under_test(
            cell, params, xs, carry, lengths=lengths, mask=mask, resets=resets, reverse=reverse, **options
        )
        return weigh(weights, results), results

    (_, results), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, xs, carry)
    return results, gradients


def assert_trees_close(found: Tree, expected: Tree, tolerance: float, what="") -> None:
    """Same structure, and every leaf equal within `tolerance`, absolute and relative."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        name = what + jax.tree_util.keystr(path)
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), tolerance, tolerance, err_msg=name)


def assert_equals_reference(
    cell,
    reference: Step,
    in_features=3,
    steps=4,
    batch=2,
    seed=0,
    **over_time,
) -> None:
    """Outputs, last carry and all gradients equal the reference's to 1e-10, in float64.

    `over_time` takes what `unroll` takes: lengths, mask, resets, reverse.
    """
    params, xs, carry = example(cell, in_features, steps, batch, seed)
    expected = unroll(reference, params, xs, carry, **over_time)[:2]
    weights = normal_like(expected, np.random.default_rng(seed + 1))
    expected_gradients = complex_step_gradient(
        lambda moved: weigh(weights, unroll(reference, *moved, **over_time)[:2]), (params, xs, carry)
    )
    with jax.enable_x64(True):
        marks = {name: jnp.asarray(value) for name, value in over_time.items() if name != "reverse"}
        reverse = over_time.get("reverse", False)
        on_device = jax.tree.map(jnp.asarray, (params, xs, carry, weights))
        found, gradients = value_and_gradients(cell, *on_device, **marks, reverse=reverse)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves((found, gradients)))
    assert_trees_close(found, expected, 1e-10, "value of (carry, ys)")
    assert_trees_close(gradients, expected_gradients, 1e-10, "gradient by (params, xs, carry)")


def dtypes_of_products(text: str) -> set[str]:
    """The dtypes of everything that a lowered text multiplies as matrices."""
    operands = re.findall(r"dot_general .*: \(tensor<(?:\d+x)*(\w+)>, tensor<(?:\d+x)*(\w+)>\)", text)
    return {dtype for pair in operands for dtype in pair}


def product_dtypes(f: Callable, *arguments) -> set[str]:
    """The dtypes of everything that f multiplies as matrices, read from its lowered text."""
    return dtypes_of_products(jax.jit(f).lower(*arguments).as_text())
