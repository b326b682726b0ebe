"""Float types that do not fit are refused by `unroll`; a symbolic number of steps can be exported."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import export

from nlstm_jax import unroll
from nlstm_jax.cells import GRU, LSTM, Bidirectional, Stack, nested_lstm

CELLS = {
    "lstm": LSTM(4),
    "nested": nested_lstm(4, 2),
    "stack": Stack((GRU(4), LSTM(4))),
    "both ways": Bidirectional(LSTM(4), GRU(4)),
}
MODES = ("scan", "fused")


@pytest.fixture
def symbolic_sizes():
    """Turn off the type checks of tests, for which a symbolic size is not an int."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def parameters(cell, dtype=jnp.float32):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), cell.init(jax.random.key(0), 3))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.int32])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_carry_of_another_type_is_refused(cell, dtype, mode) -> None:
    carry = jax.tree.map(lambda leaf: leaf.astype(dtype), cell.initial_carry((2,)))
    found = jnp.dtype(dtype).name
    message = rf"^unroll: carry: \w+\(features=4.*: [\w.]+ of float32 expected, [^,]*, found {found}$"
    with pytest.raises(ValueError, match=message):
        unroll(cell, parameters(cell), jnp.ones((5, 2, 3)), carry, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_inputs_of_a_wider_type_are_refused(cell, mode) -> None:
    message = r"^unroll: xs: \w+\(features=4.*: inputs of float32 expected, like .* of the carry, found float64, with "
    with jax.enable_x64(True), pytest.raises(ValueError, match=message):
        unroll(cell, parameters(cell), jnp.ones((5, 2, 3), jnp.float64), mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("params", "xs", "carry", "expected"),
    [
        (jnp.float32, jnp.bfloat16, None, jnp.float32),
        (jnp.bfloat16, jnp.float32, None, jnp.float32),
        (jnp.float64, jnp.float32, None, jnp.float64),
        (jnp.float32, jnp.float32, jnp.float64, jnp.float64),
        (jnp.bfloat16, jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
    ],
)
def test_types_that_a_step_keeps_are_run(params, xs, carry, expected, mode) -> None:
    cell = LSTM(4)
    with jax.enable_x64(True):
        start = None
        if carry is not None:
            start = jax.tree.map(lambda leaf: leaf.astype(carry), cell.initial_carry((2,)))
        last, _ = unroll(cell, parameters(cell, params), jnp.ones((5, 2, 3), xs), start, mode=mode)
    assert {leaf.dtype for leaf in jax.tree.leaves(last)} == {jnp.dtype(expected)}


@pytest.mark.parametrize("mode", MODES)
def test_numpy_arrays_of_float64_are_float32_as_everywhere_in_jax(mode) -> None:
    cell = nested_lstm(4, 2)
    carry = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), cell.initial_carry((2,)))
    xs = np.random.default_rng(0).standard_normal((5, 2, 3))
    _, ys = unroll(cell, parameters(cell), jnp.asarray(xs), carry, mode=mode)
    _, expected = unroll(cell, parameters(cell), jnp.asarray(xs), mode=mode)
    np.testing.assert_allclose(ys, expected, 1e-6, 1e-6)


@pytest.mark.usefixtures("symbolic_sizes")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_an_exported_function_of_any_number_of_steps_has_the_same_values(cell, mode) -> None:
    params = parameters(cell)
    steps, batch = export.symbolic_shape("T, B")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)

    def run(params, xs, lengths):
        return unroll(cell, params, xs, lengths=lengths, mode=mode)

    xs_shape = jax.ShapeDtypeStruct((steps, batch, 3), jnp.float32)
    lengths_shape = jax.ShapeDtypeStruct((batch,), jnp.int32)
    exported = export.export(jax.jit(run))(shapes, xs_shape, lengths_shape)
    for length in (1, 7):
        xs = jnp.asarray(np.random.default_rng(0).standard_normal((length, 2, 3)), jnp.float32)
        lengths = jnp.asarray([length, max(length - 3, 0)], jnp.int32)
        carry, ys = exported.call(params, xs, lengths)
        expected_carry, expected = run(params, xs, lengths)
        np.testing.assert_allclose(ys, expected, 1e-6, 1e-6)
        for leaf, other in zip(jax.tree.leaves(carry), jax.tree.leaves(expected_carry), strict=True):
            np.testing.assert_allclose(leaf, other, 1e-6, 1e-6)


@pytest.mark.usefixtures("symbolic_sizes")
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_of_any_number_of_steps_can_be_exported(mode) -> None:
    cell = nested_lstm(4, 2)
    params = parameters(cell)
    steps, batch = export.symbolic_shape("T, B")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    gradient = jax.jit(jax.grad(lambda params, xs: (unroll(cell, params, xs, mode=mode)[1] ** 2).sum()))
    exported = export.export(gradient)(shapes, jax.ShapeDtypeStruct((steps, batch, 3), jnp.float32))
    for length in (1, 7):
        xs = jnp.asarray(np.random.default_rng(1).standard_normal((length, 2, 3)), jnp.float32)
        pairs = zip(jax.tree.leaves(exported.call(params, xs)), jax.tree.leaves(gradient(params, xs)), strict=True)
        for leaf, other in pairs:
            np.testing.assert_allclose(leaf, other, 1e-5, 1e-5)


@pytest.mark.usefixtures("symbolic_sizes")
@pytest.mark.parametrize("options", [{"remat": 2}, {"remat": True}, {"truncate": 3}])
def test_blocks_of_a_symbolic_number_of_steps_are_refused(options) -> None:
    cell = LSTM(4)
    steps, batch = export.symbolic_shape("T, B")
    run = jax.jit(lambda xs: unroll(cell, parameters(cell), xs, **options)[1])
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"^unroll: {name}: none expected with the symbolic number of steps T, found"):
        export.export(run)(jax.ShapeDtypeStruct((steps, batch, 3), jnp.float32))
