"""Tests against Flax's cells, of Linen and of NNX: outputs, gradients and round trips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from flax import linen, nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from nlstm_jax.adapters.weights import from_flax, to_flax
from nlstm_jax.cells import GRU, LSTM, Elman, nested_lstm
from nlstm_jax.errors import DataError
from nlstm_jax.unroll import unroll

XS = jax.random.normal(jax.random.key(1), (3, 6, 2))
OURS = {"LSTMCell": LSTM(4), "OptimizedLSTMCell": LSTM(4), "GRUCell": GRU(4), "SimpleCell": Elman(4)}
every_cell = pytest.mark.parametrize("name", OURS)


def random_like(tree):
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(0.6 * generator.standard_normal(leaf.shape), jnp.float32), tree)


def batch_major(cell, params):
    return jnp.swapaxes(unroll(cell, params, jnp.swapaxes(XS, 0, 1))[1], 0, 1)


ours = references.compiled(batch_major, static_argnums=0)


def loss(ys):
    return (ys * jax.random.normal(jax.random.key(2), ys.shape)).sum()


def with_gradient(run, params):
    """Return the outputs, and the gradient of their loss."""

    def weighed(params):
        ys = run(params)
        return loss(ys), ys

    gradient, ys = references.compiled(jax.grad(weighed, has_aux=True))(params)
    return ys, gradient


@every_cell
def test_linens_cell_outputs_and_gradients(name) -> None:
    rnn = linen.RNN(getattr(linen, name)(4))
    variables = random_like(rnn.init(jax.random.key(0), XS))
    cell, params = from_flax(variables["params"]["cell"])
    assert cell == OURS[name]
    ys, theirs = with_gradient(lambda variables: rnn.apply(variables, XS), variables)
    np.testing.assert_allclose(ours(cell, params), ys, 1e-5, 1e-5)
    theirs = theirs["params"]["cell"]
    found = to_flax(cell, with_gradient(lambda params: batch_major(cell, params), params)[1])
    assert found.keys() == flatten_dict(theirs, sep="/").keys()
    for path, gradient in flatten_dict(theirs, sep="/").items():
        np.testing.assert_allclose(found[path], gradient, 1e-5, 1e-5, err_msg=path)


@every_cell
def test_nnx_cell_outputs_and_gradients(name) -> None:
    theirs = getattr(nnx, name)(2, 4, rngs=nnx.Rngs(0))
    nnx.update(theirs, random_like(nnx.state(theirs, nnx.Param)))
    rnn = nnx.RNN(theirs)
    cell, params = from_flax(nnx.to_pure_dict(nnx.state(theirs, nnx.Param)))
    assert cell == OURS[name]
    graph, state, others = nnx.split(rnn, nnx.Param, ...)
    ys, gradients = with_gradient(lambda state: nnx.merge(graph, state, jax.tree.map(jnp.copy, others))(XS), state)
    np.testing.assert_allclose(ours(cell, params), ys, 1e-5, 1e-5)
    gradients = nnx.to_pure_dict(gradients)["cell"]
    by_params = with_gradient(lambda params: batch_major(cell, params), params)[1]
    if name == "GRUCell":
        by_params = by_params._replace(b_n=jnp.zeros(4))
    _, expected = from_flax(gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), by_params, expected)


@pytest.mark.parametrize("name", ["OptimizedLSTMCell", "GRUCell", "SimpleCell"])
def test_nnx_takes_what_was_converted(name) -> None:
    cell = OURS[name]
    params = random_like(cell.init(jax.random.key(0), 2))
    if name == "GRUCell":
        params = params._replace(b_n=jnp.zeros(4))
    theirs = getattr(nnx, name)(2, 4, rngs=nnx.Rngs(0))
    tensors = to_flax(cell, params, style="nnx")
    state = {tuple(path.split("/")): nnx.Param(jnp.asarray(value)) for path, value in tensors.items()}
    nnx.update(theirs, nnx.from_flat_state(state))
    np.testing.assert_allclose(nnx.RNN(theirs)(XS), ours(cell, params), 1e-5, 1e-5)


@pytest.mark.parametrize("style", ["linen", "nnx"])
@pytest.mark.parametrize("cell", [LSTM(4), GRU(4), Elman(4)], ids=["lstm", "gru", "elman"])
def test_a_way_there_and_back_changes_no_bit(cell, style) -> None:
    params = random_like(cell.init(jax.random.key(0), 3))
    if isinstance(cell, GRU) and style == "nnx":
        with pytest.raises(ValueError, match="GRU: b_n: zeros expected"):
            to_flax(cell, params, style=style)
        params = params._replace(b_n=jnp.zeros(4))
    tensors = {f"rnn/{name}": value for name, value in to_flax(cell, params, style=style).items()}
    again, back = from_flax(tensors, "rnn/")
    assert again == cell
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"hi": {"kernel": np.ones((4, 4))}}, "from_flax: ii/kernel: missing among hi/kernel"),
        ({"dense_h": {"kernel": np.ones((4, 9))}}, r"dense_h/kernel: \[H, H\], \[H, 3H\] or \[H, 4H\] expected"),
        (
            {
                "i": {"kernel": np.ones((3, 4)), "bias": np.ones(4)},
                "h": {"kernel": np.ones((4, 4)), "bias": np.ones(4)},
            },
            "no place for h/bias",
        ),
    ],
)
def test_a_wrong_tensor_is_named(tensors, message) -> None:
    with pytest.raises(DataError, match=message):
        from_flax(tensors)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (nested_lstm(4, 2), "an LSTM, GRU or Elman expected, found Nested"),
        (LSTM(4, layer_norm=True), "LSTM: layer_norm=False expected, found True"),
        (GRU(4, reset_after=False), "GRU: reset_after=True expected, found False"),
    ],
)
def test_what_flax_lacks_is_named(cell, message) -> None:
    with pytest.raises(ValueError, match=message):
        to_flax(cell, cell.init(jax.random.key(0), 3))


@every_cell
def test_linen_takes_what_was_converted(name) -> None:
    cell = OURS[name]
    params = random_like(cell.init(jax.random.key(0), 2))
    variables = {"params": {"cell": unflatten_dict(to_flax(cell, params), sep="/")}}
    np.testing.assert_allclose(linen.RNN(getattr(linen, name)(4)).apply(variables, XS), ours(cell, params), 1e-5, 1e-5)


@pytest.mark.parametrize("style", ["linen", "nnx"])
@pytest.mark.parametrize("cell", [LSTM(4, use_bias=False), GRU(4, use_bias=False), Elman(4, use_bias=False)])
def test_a_cell_without_biases_gets_zeros(cell, style) -> None:
    params = random_like(cell.init(jax.random.key(0), 2))
    again, back = from_flax(to_flax(cell, params, style=style))
    assert again == type(cell)(4)
    assert not back.b.any()
    np.testing.assert_array_equal(ours(again, back), ours(cell, params))


@pytest.mark.parametrize(
    ("cell", "name"), [(LSTM(4), "ig/kernel"), (GRU(4), "iz/kernel"), (LSTM(4), "ii/kernel"), (GRU(4), "in/kernel")]
)
def test_a_gate_that_reads_another_input_than_the_others_is_named(cell, name) -> None:
    tensors = to_flax(cell, cell.init(jax.random.key(0), 3)) | {name: np.ones((5, 4))}
    with pytest.raises(DataError, match=r"m/i\w/kernel"):
        from_flax({f"m/{path}": value for path, value in tensors.items()}, "m/")


def test_an_unknown_style_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"(?s)(?=.*linnen)(?=.*linen)(?=.*nnx)"):
        to_flax(LSTM(4), LSTM(4).init(jax.random.key(0), 3), style="linnen")
