"""Time in blocks: the same values and gradients computed anew, and truncated gradients against windows by hand."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import GRU, LSTM, Bidirectional, Stack, nested_lstm, regularised
from nlstm_jax.unroll import unroll

T, B, D, H = 11, 3, 2, 4
CELLS = {
    "lstm": LSTM(H),
    "nested": regularised(nested_lstm(H, 2), zoneout=(0.2,)),
    "layers": Stack((Bidirectional(LSTM(H), GRU(3)), GRU(H))),
}
MARKS = {"lengths": np.array([11, 0, 7]), "mask": np.random.default_rng(1).random((T, B)) < 0.7}
RESETS = np.random.default_rng(2).random((T, B)) < 0.3


def outcome(cell, mode, **options):
    """Last carry, outputs and all carries, and the gradients of a weighed sum of them by all that goes in."""
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    shapes = jax.eval_shape(lambda: unroll(cell, params, xs, carry, return_carries=True))
    weights = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)
    options = {"key": jax.random.key(3), "resets": RESETS, "return_carries": True, **options}
    return references.value_and_gradients(cell, params, xs, carry, weights, mode=mode, **options)


@pytest.mark.parametrize("remat", [False, True, 1, 20])
@pytest.mark.parametrize("reverse", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_what_is_computed_anew_is_the_same(cell, reverse, remat):
    with jax.enable_x64(True):
        found, expected = (
            outcome(cell, mode, reverse=reverse, remat=blocks, **MARKS)
            for mode, blocks in (("fused", remat), ("scan", None))
        )
        references.assert_trees_close(found, expected, 1e-12)


@pytest.mark.parametrize("remat", [0, True])
@pytest.mark.parametrize("mode", ["scan", "fused"])
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_a_truncated_gradient_is_that_of_windows_with_the_carry_passed_on(steps, mode, remat):
    """What a training loop over windows does: one gradient a window, the carry between them a constant."""
    cell = nested_lstm(H, 2)
    with jax.enable_x64(True):
        params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
        weights = jnp.cos(jnp.arange(T * B * H, dtype=jnp.float64)).reshape(T, B, H)

        def windowed(params, xs, carry):
            total = 0.0
            for start in range(0, T, steps):
                window = slice(start, start + steps)
                before = carry if start == 0 else jax.lax.stop_gradient(carry)
                carry, ys = unroll(cell, params, xs[window], before, mode="scan")
                total += (weights[window] * ys).sum()
            return total

        def truncated(params, xs, carry):
            return (weights * unroll(cell, params, xs, carry, mode=mode, truncate=steps, remat=remat)[1]).sum()

        found, expected = (jax.value_and_grad(f, (0, 1, 2))(params, xs, carry) for f in (truncated, windowed))
        references.assert_trees_close(found, expected, 1e-12)


def test_windows_are_counted_from_where_a_run_in_reverse_begins():
    cell = GRU(H)
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))

    def last(xs, **options):
        return unroll(cell, params, xs, truncate=4, **options)[0].h.sum()

    there = jax.grad(last)(xs[::-1])[::-1]
    back = jax.grad(lambda xs: last(xs, reverse=True))(xs)
    np.testing.assert_allclose(back, there, atol=1e-6)
    # 11 steps are windows of 4, 4 and 3, of which the last carry's gradient reaches one.
    np.testing.assert_array_equal(jnp.any(back != 0, axis=(1, 2)), jnp.arange(T) < 3)


def test_a_long_gradient_stores_the_carries_between_blocks_alone():
    cell, steps = LSTM(64), 1024
    params = cell.init(jax.random.key(0), 1)
    xs = jnp.ones((steps, 8, 1))

    def memory(remat):
        gradient = jax.grad(lambda params: unroll(cell, params, xs, remat=remat)[0].h.sum())
        return jax.jit(gradient).lower(params).compile().memory_analysis().temp_size_in_bytes

    # √1024 blocks, and √1024 steps of one of them, in place of 1024 steps; the outputs are there in any case.
    outputs = xs.size * 64 * 4
    assert memory(True) - outputs < memory(None) / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remat": -1}, "remat: None, True, False or a whole number of steps ≥ 0 expected, found -1"),
        ({"remat": 2.5}, "remat: None, True, False or a whole number of steps ≥ 0 expected, found 2.5"),
        ({"truncate": "4"}, "truncate: None or a whole number of steps ≥ 0 expected, found '4'"),
        ({"truncate": True}, "truncate: None or a whole number of steps ≥ 0 expected, found True"),
    ],
)
def test_blocks_of_no_steps_are_refused(options, message):
    cell = LSTM(H)
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(unroll)(cell, params, jnp.ones((T, B, D)), **options)
