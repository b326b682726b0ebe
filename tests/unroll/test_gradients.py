"""Gradients against differences in float64, and over ten thousand steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.unroll import unroll

STEP = 1e-5
KEY = jax.random.key(5)
LENGTHS = np.array([5, 3, 0])
MASK = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1]], bool)
UNMASKED = {"lengths": np.full(3, 5), "mask": np.ones((5, 3), bool)}
MASKED = {"lengths": LENGTHS, "mask": MASK}
# A relu has no derivative at 0, and the user's own cell casts to bfloat16 within its step.
CELLS = {name: cell for name, cell in zoo.cells(without="own").items() if "relu" not in name}
# The gradients of cells without noise are compared with references that are exact to rounding, by default.
BY_DEFAULT = ("stack", "dropped", "zoneout_rates", "nested_around_dropped", "bidirectional_mul", "nested_4_multiply")


def example(cell, steps=5, batch=3):
    return references.example(cell, in_features=D, steps=steps, batch=batch)


def loss(cell, at, **over_time):
    """Return a scalar that depends on every output and on the last carry, and not linearly."""
    params, xs, start = at
    carry, ys = unroll(cell, params, xs, start, **over_time)
    return sum((jnp.sin(leaf + 1.0) * leaf).sum() for leaf in jax.tree.leaves((carry, ys)))


value_and_gradient = references.compiled(jax.value_and_grad(loss, argnums=1), static_argnames="cell")


@functools.partial(references.compiled, static_argnames="cell")
def gradient_and_hessian_product(cell, at, direction, **over_time):
    return jax.jvp(lambda moved: jax.grad(loss, argnums=1)(cell, moved, **over_time), (at,), (direction,))


def moved(at, direction, step):
    return jax.tree.map(lambda leaf, along: leaf + step * along, at, direction)


@pytest.mark.parametrize("name", zoo.marked(CELLS, BY_DEFAULT))
def test_gradients_equal_differences_along_random_directions(name):
    cell = CELLS[name]
    at = example(cell)
    generator = np.random.default_rng(1)
    with jax.enable_x64(True):
        for over_time in (UNMASKED, MASKED):
            _, gradient = value_and_gradient(cell, at, **over_time, key=KEY)
            for _ in range(4):
                direction = references.normal_like(at, generator, scale=1.0)
                above, below = (
                    value_and_gradient(cell, moved(at, direction, step), **over_time, key=KEY)[0]
                    for step in (STEP, -STEP)
                )
                expected = (above - below) / (2 * STEP)
                np.testing.assert_allclose(references.weigh(direction, gradient), expected, 1e-6, 1e-6)


@pytest.mark.parametrize("name", zoo.marked(["lstm", "nested_2_multiply", "nested_3_multiply"], ["nested_2_multiply"]))
def test_second_derivatives_equal_differences_of_the_gradient(name):
    cell = CELLS[name]
    at = example(cell)
    direction = references.normal_like(at, np.random.default_rng(2), scale=1.0)
    with jax.enable_x64(True):
        for over_time in (UNMASKED, MASKED):
            _, product = gradient_and_hessian_product(cell, at, direction, **over_time)
            above, below = (
                gradient_and_hessian_product(cell, moved(at, direction, step), direction, **over_time)[0]
                for step in (STEP, -STEP)
            )
            expected = jax.tree.map(lambda up, down: (up - down) / (2 * STEP), above, below)
            references.assert_trees_close(product, expected, 1e-6)


@functools.partial(references.compiled, static_argnames="cell")
def values_and_gradients(cell, at, key):
    def results(at):
        carry, ys = unroll(cell, *at, key=key)
        return sum(leaf.sum() for leaf in jax.tree.leaves((carry, ys))), (carry, ys)

    return jax.value_and_grad(results, has_aux=True)(at)


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["elman", "lstm", "nested_2_multiply", "zoneout"]))
def test_over_ten_thousand_steps_values_and_gradients_stay_finite(name):
    cell = CELLS[name]
    xs = 3 * np.random.default_rng(0).standard_normal((10_000, 2, D))
    found = values_and_gradients(cell, (cell.init(KEY, D), xs, cell.initial_carry((2,))), KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", ["lstm", pytest.param("nested_3_multiply", marks=pytest.mark.slow)])
def test_a_carry_passed_on_carries_gradients_back_unless_it_is_stopped(name):
    cell = CELLS[name]

    @references.compiled
    def gradients(params, xs, start):
        def late_loss(params, xs, hand_over):
            if hand_over is None:
                _, ys = unroll(cell, params, xs, start)
                return (ys[2:] ** 2).sum()
            carry, _ = unroll(cell, params, xs[:2], start)
            _, ys = unroll(cell, params, xs[2:], hand_over(carry))
            return (ys**2).sum()

        return [
            jax.grad(functools.partial(late_loss, hand_over=hand_over), (0, 1))(params, xs)
            for hand_over in (None, lambda carry: carry, jax.lax.stop_gradient)
        ]

    whole, passed_on, stopped = gradients(*example(cell))
    references.assert_trees_close(passed_on, whole, 1e-5)
    assert np.asarray(passed_on[1]).all()
    assert not stopped[1][:2].any()
    np.testing.assert_allclose(stopped[1][2:], whole[1][2:], 1e-5, 1e-5)
