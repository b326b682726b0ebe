import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from jax import export
from zoo import D

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Elman,
    Nested,
    Stack,
    count_flops,
    count_parameters,
    count_state,
    fit_features,
    is_stochastic,
    nested_lstm,
)
from nlstm_jax.cells.base import product
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)
CELLS = zoo.cells()
# A cell of each kind: with options, nested around another kind, a stack with noise, wrapped twice.
BY_DEFAULT = ("elman", "gru", "lstm_options", "nested_3_add", "nested_gru", "stack", "zoneout_dropped_nested")
every_stepped_cell = pytest.mark.parametrize("name", zoo.marked(zoo.names("stepped"), BY_DEFAULT))


def blocks(matrix, count):
    return np.split(np.asarray(matrix), count, axis=1)


def assert_orthogonal_rows(matrix):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), rtol=0, atol=1e-5)


def assert_uniform(values, bound):
    """Assert that all values are within the bound and have the standard deviation of a uniform, bound / √3."""
    values = np.asarray(values)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.97 * bound
    np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.1)


def test_the_complex_step_is_exact_to_rounding():
    x = np.array([0.3, -1.2])
    gradient = references.complex_step_gradient(lambda p: (np.tanh(p) ** 2 * np.exp(p)).sum(), x)
    expected = np.exp(x) * (np.tanh(x) ** 2 + 2 * np.tanh(x) * (1 - np.tanh(x) ** 2))
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_sums_of_bfloat16_products_are_kept_and_returned_in_float32():
    # 256 + 1 is no bfloat16: a sum kept in it, or rounded to it at the end, stays at 256.
    x, w = jnp.ones((2, 257)), jnp.ones((257, 3))
    sums = product(x, w, jnp.bfloat16)
    assert sums.dtype == jnp.float32
    np.testing.assert_array_equal(sums, np.full((2, 3), 257.0))
    # The factors are rounded.
    np.testing.assert_array_equal(product(x[:, :1] * (1 + 2.0**-9), w[:1], jnp.bfloat16), np.ones((2, 3)))


@pytest.mark.slow
def test_tags_of_the_zoo_say_which_cells_draw_noise_and_when():
    noisy = {name for name, cell in CELLS.items() if is_stochastic(cell, D)}
    assert noisy == set(zoo.names("noisy"))

    def noise_of(cell):
        return cell.sample_noise(cell.init(KEY, D), KEY, (4, 2, D))[1]

    once = {name for name in noisy if not jax.tree.leaves(jax.eval_shape(lambda name=name: noise_of(CELLS[name])))}
    assert once == set(zoo.names("once"))


@every_stepped_cell
def test_everything_a_cell_makes_is_float32_and_as_wide_as_it_says(name):
    cell = CELLS[name]

    def made():
        params, carry = cell.init(KEY, D), cell.initial_carry((2,))
        return params, carry, cell.step(params, carry, cell.project(params, jnp.ones((2, D))))

    params, carry, (new, y) = jax.eval_shape(made)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, carry, new, y))} == {jnp.dtype("float32")}
    assert y.shape == (2, cell.out_features)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, carry)
    assert count_parameters(cell, D) == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert not any(leaf.any() for leaf in jax.tree.leaves(cell.initial_carry((2,))))


@pytest.mark.parametrize(
    "make",
    [
        Elman,
        GRU,
        functools.partial(GRU, reset_after=False),
        functools.partial(LSTM, projection=3, layer_norm=True, peephole=True),
        functools.partial(nested_lstm, depth=3),
    ],
    ids=["elman", "gru", "gru_reset_before", "lstm", "nested"],
)
def test_every_product_of_a_cell_is_in_the_dtype_that_was_asked_for(make):
    params, xs, carry = references.example(make(4))
    for dtype, found in ((None, "f32"), (jnp.bfloat16, "bf16"), ("float16", "f16")):
        cell = make(4, dtype=dtype)
        assert references.product_dtypes(lambda *a, cell=cell: unroll(cell, *a), params, xs, carry) == {found}


@pytest.mark.parametrize("name", CELLS)
def test_equal_cells_are_one_to_jit(name):
    cell = CELLS[name]
    decoder_in_features = dataclasses.replace(cell)
    assert decoder_in_features is not cell
    assert decoder_in_features == cell
    assert hash(decoder_in_features) == hash(cell)
    assert [other for other in CELLS.values() if other == cell] == [cell]


@pytest.mark.parametrize("name", zoo.marked(zoo.names("stepped", without="own"), BY_DEFAULT))
def test_a_step_takes_any_batch_shape(name):
    cell = CELLS[name]
    params, xs, carry = references.example(cell, D, steps=1, batch=6)

    @references.compiled
    def all_shapes(params, x, carry):
        def step(shape):
            own_carry, own_x = jax.tree.map(lambda leaf: leaf.reshape(*shape, leaf.shape[-1]), (carry, x))
            result = cell.step(params, own_carry, cell.project(params, own_x))
            return jax.tree.map(lambda leaf: leaf.reshape(6, leaf.shape[-1]), result)

        first_carry, first_x = jax.tree.map(lambda leaf: leaf[0], (carry, x))
        return step((6,)), step((2, 3)), cell.step(params, first_carry, cell.project(params, first_x))

    flat, grid, single = all_shapes(params, xs[0], carry)
    references.assert_trees_close(grid, flat, 1e-6)
    references.assert_trees_close(single, jax.tree.map(lambda leaf: leaf[0], flat), 1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_without_a_key_nothing_is_drawn(name):
    """With a key, a cell without noise also returns its parameters unchanged."""
    cell = CELLS[name]
    params, _, _ = references.example(cell, D)
    for key in (None, KEY) if name not in zoo.names("noisy") else (None,):
        prepared, noise = cell.sample_noise(params, key, (4, 2, D))
        references.assert_trees_close(prepared, params, 0.0)
        assert jax.tree.leaves(noise) == []


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["lstm_options", "nested_3_add", "stack"]))
def test_a_training_step_is_exported_for_every_platform(name):
    cell = CELLS[name]

    def train(params, xs, learning_rate):
        def loss(params):
            return (unroll(cell, params, xs, key=KEY)[1] ** 2).sum()

        value, gradients = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda p, g: p - learning_rate * g, params, gradients)

    params = jax.eval_shape(lambda: cell.init(KEY, D))
    xs, rate = jax.ShapeDtypeStruct((4, 2, D), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)
    exported = export.export(jax.jit(train), platforms=("cpu", "cuda", "tpu"))(params, xs, rate)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert len(exported.out_avals) == 1 + len(jax.tree.leaves(params))


def test_by_default_input_blocks_are_glorot_and_recurrent_blocks_orthogonal():
    for cell, gates in ((Elman(40), 1), (GRU(40), 3), (LSTM(40), 4), (nested_lstm(40, 2), 4)):
        params = cell.init(KEY, 30)
        for block in blocks(params.w_x, gates):
            assert_uniform(block, np.sqrt(6 / (30 + 40)))
        for block in blocks(params.w_h, gates):
            assert_orthogonal_rows(block)
        if gates > 1:
            assert not np.allclose(*blocks(params.w_h, gates)[:2])
    for cell in (Elman(40), GRU(40)):
        assert not cell.init(KEY, 30).b.any()
    assert not GRU(40).init(KEY, 30).b_n.any()
    for block in blocks(nested_lstm(40, 2).init(KEY, 30).inner.w_h, 4):
        assert_orthogonal_rows(block)


def test_keras_is_glorot_and_orthogonal_over_the_whole_matrix():
    for cell in (LSTM(40, init_scheme="keras"), Nested(40, inner=LSTM(40), init_scheme="keras")):
        params = cell.init(KEY, 30)
        assert_uniform(params.w_x, np.sqrt(6 / (30 + 4 * 40)))
        assert_orthogonal_rows(np.asarray(params.w_h))
        for block in blocks(params.w_h, 4):
            assert not np.allclose(block @ block.T, np.eye(40), atol=0.1)


def test_keras_inner_is_orthogonal_over_input_and_hidden_rows_together():
    params = LSTM(40, init_scheme="keras_inner").init(KEY, 40)
    assert_orthogonal_rows(np.concatenate([params.w_x, params.w_h]))


def test_uniform_normal_and_torch_fill_the_parameters():
    for leaf in jax.tree.leaves(LSTM(40, init_scheme="uniform(0.1)", forget_bias=0.0).init(KEY, 30)):
        assert_uniform(leaf, 0.1)
    torch = LSTM(40, init_scheme="torch", forget_bias=0.0).init(KEY, 30)
    for leaf in (torch.w_x, torch.w_h):
        assert_uniform(leaf, 1 / np.sqrt(40))
    params = LSTM(40, init_scheme="normal(0.01)", forget_bias=0.0).init(KEY, 30)
    for leaf in (params.w_x, params.w_h):
        np.testing.assert_allclose(leaf.std(), 0.01, rtol=0.05)
        assert np.abs(leaf).max() > 0.03
    assert not params.b.any()


def test_a_width_is_found_for_a_budget():
    assert fit_features(lambda width: nested_lstm(width, 2), 1, parameters=19_680) == 40
    assert fit_features(LSTM, 1, parameters=66_560) == 128
    assert fit_features(LSTM, 1, parameters=66_700) == 128


def products_by_hand(width, inputs, levels=1):
    """Count two operations per multiplication, for four gates on the inputs and on h.

    Every further level adds the products of its four gates with two matrices H × H.
    """
    return 2 * 4 * width * (inputs + (2 * levels - 1) * width)


@pytest.mark.parametrize(
    ("cell", "operations", "state"),
    [
        (LSTM(7), products_by_hand(7, 3), 14),
        (LSTM(7, peephole=True, layer_norm=True), products_by_hand(7, 3), 14),
        (LSTM(8, projection=5), 2 * (4 * 8 * (3 + 5) + 8 * 5), 13),
        (nested_lstm(7, 3), products_by_hand(7, 3, 3), 28),
        (Stack((LSTM(7), LSTM(7))), products_by_hand(7, 3, 2), 28),
        (GRU(7), 2 * 3 * 7 * (3 + 7), 7),
        (GRU(7, reset_after=False), 2 * 3 * 7 * (3 + 7), 7),
        (Elman(7), 2 * 7 * (3 + 7), 7),
    ],
)
def test_operations_and_state_are_those_counted_by_hand(cell, operations, state):
    assert count_flops(cell, in_features=3) == operations
    assert count_state(cell) == state


def test_a_width_is_found_for_operations_and_for_state():
    assert fit_features(lambda width: nested_lstm(width, 2), 1, operations=products_by_hand(40, 1, 2)) == 40
    assert fit_features(LSTM, 1, operations=products_by_hand(128, 1)) == 128
    makes = (LSTM, lambda width: nested_lstm(width, 2), GRU)
    assert [fit_features(make, 1, state=600) for make in makes] == [300, 200, 600]
    with pytest.raises(ValueError, match="one of parameters, operations, state expected, found none"):
        fit_features(LSTM, 1)
    with pytest.raises(ValueError, match="expected, found parameters, state"):
        fit_features(LSTM, 1, parameters=100, state=10)
    with pytest.raises(ValueError, match="of 3 numbers of state: the nearest"):
        fit_features(LSTM, 1, state=3)


def test_a_budget_between_two_widths_is_refused():
    # One unit is 12 numbers, two are 32.
    with pytest.raises(ValueError, match=r"(?s)(?=.*\b20\b)(?=.*\b(12|32)\b)"):
        fit_features(LSTM, 1, parameters=20)


def test_another_key_draws_other_parameters():
    cell = Nested(4, inner=GRU(4))
    one, same, other = (cell.init(key, 3) for key in (KEY, KEY, jax.random.key(1)))
    references.assert_trees_close(one, same, 0.0)
    assert not np.allclose(one.w_x, other.w_x)
    assert not np.allclose(one.inner.w_h, other.inner.w_h)


@pytest.mark.parametrize(
    ("cell", "sums"),
    [
        (LSTM(16, init_scheme="torch", forget_bias=0.0), 4),
        (GRU(16, init_scheme="torch"), 2),
        (GRU(16, init_scheme="torch", reset_after=False), 3),
        (Elman(16, init_scheme="torch"), 1),
    ],
    ids=["lstm", "gru", "gru_reset_before", "elman"],
)
def test_torch_draws_the_sum_of_two_biases_where_pytorch_adds_two(cell, sums):
    """U(±1/4) has the deviation 0.144, the sum of two 0.204. The candidate of a GRU has two separate biases."""
    params = jax.vmap(lambda key: cell.init(key, 3))(jax.random.split(KEY, 400))
    b = np.asarray(params.b).reshape(400, -1, 16)
    deviations = b.std((0, 2))
    np.testing.assert_allclose(deviations[:sums], 0.25 * np.sqrt(2 / 3), rtol=0.02)
    np.testing.assert_allclose(deviations[sums:], 0.25 / np.sqrt(3), rtol=0.02)
    if getattr(params, "b_n", None) is not None:
        b_n = np.asarray(params.b_n)
        np.testing.assert_allclose(b_n.std(), 0.25 / np.sqrt(3), rtol=0.02)
        assert abs(np.corrcoef(b_n.ravel(), b[:, 2].ravel())[0, 1]) < 0.05
