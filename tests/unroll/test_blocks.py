"""Loops in blocks: rematerialized gradients equal the plain ones, truncated ones equal a loop over windows."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D, H

from nlstm_jax.cells import GRU, LSTM, nested_lstm
from nlstm_jax.unroll import unroll

T, B = 11, 3
CELLS = zoo.cells("core")
MARKS = {"lengths": np.array([11, 0, 7]), "mask": np.random.default_rng(1).random((T, B)) < 0.7}
RESETS = np.random.default_rng(2).random((T, B)) < 0.3


def outcome(cell, mode, **options):
    """Return the last carry, outputs and all carries, and the gradients of a weighted sum of them by all arguments."""
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))
    shapes = jax.eval_shape(lambda: unroll(cell, params, xs, carry, return_carries=True, mode="scan"))
    weights = jax.tree.map(lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape), shapes)
    options = {"key": jax.random.key(3), "resets": RESETS, "return_carries": True, **options}
    return references.value_and_gradients(cell, params, xs, carry, weights, mode=mode, **options)


# With steps left over in both directions, with none left over, and a block longer than the sequence.
REMAT_BY_DEFAULT = (
    ("bidirectional", "forward", "root"),
    ("lstm_options", "reverse", "20"),
)
REMAT = {"none": False, "root": True, "1": 1, "20": 20}


@pytest.mark.parametrize(
    ("name", "direction", "blocks"),
    [
        pytest.param(*case, marks=() if case in REMAT_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(CELLS, ("forward", "reverse"), REMAT)
    ],
)
def test_what_is_computed_anew_is_the_same(name, direction, blocks):
    reverse = direction == "reverse"
    with jax.enable_x64(True):
        found, expected = (
            outcome(CELLS[name], mode, reverse=reverse, remat=remat, **MARKS)
            for mode, remat in (("fused", REMAT[blocks]), ("scan", None))
        )
        references.assert_trees_close(found, expected, 1e-12)


TRUNCATE_BY_DEFAULT = ((4, "fused", True), (4, "scan", 0), (20, "fused", 0))


@pytest.mark.parametrize(
    ("steps", "mode", "remat"),
    [
        pytest.param(*case, marks=() if case in TRUNCATE_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product((1, 4, 20), ("scan", "fused"), (0, True))
    ],
)
def test_a_truncated_gradient_is_that_of_windows_with_the_carry_passed_on(steps, mode, remat):
    """Compare with a training loop over windows, in which the carry between two windows is a constant."""
    cell = nested_lstm(H, 2)
    # Every window by hand is another loop to compile.
    length = T if steps > 1 else 4
    with jax.enable_x64(True):
        params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell, D, length, B))
        weights = jnp.cos(jnp.arange(length * B * H, dtype=jnp.float64)).reshape(length, B, H)

        def windowed(params, xs, carry):
            total = 0.0
            for start in range(0, length, steps):
                window = slice(start, start + steps)
                before = carry if start == 0 else jax.lax.stop_gradient(carry)
                carry, ys = unroll(cell, params, xs[window], before, mode="scan")
                total += (weights[window] * ys).sum()
            return total

        def truncated(params, xs, carry):
            return (weights * unroll(cell, params, xs, carry, mode=mode, truncate=steps, remat=remat)[1]).sum()

        found, expected = (
            references.compiled(jax.value_and_grad(f, (0, 1, 2)))(params, xs, carry) for f in (truncated, windowed)
        )
        references.assert_trees_close(found, expected, 1e-12)


def test_windows_are_counted_from_where_a_run_in_reverse_begins():
    cell = GRU(H)
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, D, T, B))

    def last(xs, **options):
        return unroll(cell, params, xs, truncate=4, **options)[0].h.sum()

    there = references.compiled(jax.grad(last))(xs[::-1])[::-1]
    back = references.compiled(jax.grad(lambda xs: last(xs, reverse=True)))(xs)
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
