"""Our cells inside Flax's recurrences, NNX and Linen, and our layer inside a Flax model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from nlstm_jax.adapters.linen import RNNCell as LinenCell
from nlstm_jax.adapters.nnx import Recurrent, RNNCell
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    Nested,
    SequenceDropout,
    Stack,
    Zoneout,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

CELLS = {
    "elman": Elman(4),
    "gru": GRU(4),
    "gru_reset_before": GRU(4, reset_after=False),
    "lstm": LSTM(4, peephole=True, projection=3, layer_norm=True),
    "nested_1": nested_lstm(4, 1),
    "nested_3": nested_lstm(4, 3, "add"),
    "nested_gru": Nested(4, GRU(4)),
    "stack": Stack((LSTM(4), GRU(3)), skip=True),
    "dropout": SequenceDropout(LSTM(4), recurrent=0.5),
    "zoneout": Zoneout(nested_lstm(4, 2), 0.5),
    "deep": DeepOutput(DeepTransition((GRU(4), GRU(4))), (5,)),
}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
LENGTHS = jnp.array([6, 4, 1])
VALID = np.arange(6)[None, :, None] < np.asarray(LENGTHS)[:, None, None]
XS = jax.random.normal(jax.random.key(1), (3, 6, 2))


def turned(tree):
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def ours(cell, params, xs=XS, **options):
    carry, ys = unroll(cell, params, turned(xs), **options)
    return carry, turned(ys)


def close(found, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), found, expected)


def values(module):
    return jax.tree.map(lambda leaf: leaf[...], module.params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def inside(cell, **options):
    """Flax's recurrence around a cell of ours, and the cell's parameters."""
    adapted = RNNCell(cell, 2, deterministic=True, rngs=nnx.Rngs(0))
    return nnx.RNN(adapted, return_carry=True, **options), values(adapted)


@every_cell
def test_inside_nnx_rnn_it_is_unroll(cell) -> None:
    rnn, params = inside(cell)
    close(rnn(XS), ours(cell, params))
    close(rnn(turned(XS), time_major=True)[1], turned(ours(cell, params)[1]))
    backwards, kept = rnn(XS, reverse=True, keep_order=True)
    close((backwards, kept), ours(cell, params, reverse=True))
    close(rnn(XS, reverse=True)[1], kept[:, ::-1])
    start = jax.tree.map(lambda leaf: leaf + 0.5, cell.initial_carry((3,)))
    close(rnn(XS, initial_carry=start), ours(cell, params, carry=start))
    again, _ = inside(cell, unroll=2)
    close(again(XS), ours(cell, params))


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_with_lengths_it_is_unroll_but_for_outputs_past_the_end(cell, reverse) -> None:
    rnn, params = inside(cell)
    carry, ys = rnn(XS, seq_lengths=LENGTHS, reverse=reverse, keep_order=True)
    expected_carry, expected = ours(cell, params, lengths=LENGTHS, reverse=reverse)
    close(carry, expected_carry)
    close(VALID * ys, expected)
    assert np.abs(np.asarray(ys)[np.broadcast_to(~VALID, ys.shape)]).max() > 0


def test_a_sequence_of_length_0_returns_flaxs_last_carry_and_our_first() -> None:
    rnn, params = inside(GRU(4))
    lengths = jnp.array([0, 6, 6])
    theirs, _ = rnn(XS, seq_lengths=lengths)
    mine, _ = ours(GRU(4), params, lengths=lengths)
    close(theirs.h[0], ours(GRU(4), params)[0].h[0])
    np.testing.assert_array_equal(mine.h[0], 0)


def test_flaxs_bidirectional_is_ours() -> None:
    forward, params = inside(nested_lstm(4, 2))
    backward = nnx.RNN(RNNCell(GRU(4), 2, rngs=nnx.Rngs(1)), return_carry=True)
    _, ys = nnx.Bidirectional(forward, backward, return_carry=True)(XS, seq_lengths=LENGTHS)
    layer = Bidirectional(nested_lstm(4, 2), GRU(4))
    both = layer.init(jax.random.key(0), 2)._replace(forward=params, backward=values(backward.cell))
    close(VALID * ys, ours(layer, both, lengths=LENGTHS)[1])


@every_cell
def test_gradients_through_flax_are_ours(cell) -> None:
    rnn, params = inside(cell)

    @nnx.grad
    def through_flax(rnn):
        return (rnn(XS)[1] ** 2).sum()

    gradients = through_flax(rnn)["cell"]["params"]
    found = [leaf[...] for leaf in jax.tree.leaves(gradients, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))]
    expected = jax.grad(lambda params: (ours(cell, params)[1] ** 2).sum())(params)
    by_path = nnx.to_flat_state(nnx.state(rnn, nnx.Param))
    assert len(found) == len(jax.tree.leaves(expected)) == len(by_path)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat(expected)}
    for path, leaf in nnx.to_flat_state(gradients):
        name = "/".join(map(str, path))
        np.testing.assert_allclose(leaf[...], named[name], 1e-5, 1e-5, err_msg=name)


def flat(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def test_the_contract_of_a_flax_cell() -> None:
    cell = RNNCell(nested_lstm(4, 2), 2, rngs=nnx.Rngs(0))
    assert cell.num_feature_axes == 1
    assert cell.initialize_carry((3, 5, 2)).h.shape == (3, 5, 4)
    drawn = cell.initialize_carry((3, 2), nnx.Rngs(carry=0), carry_init=jax.nn.initializers.normal())
    assert len({float(leaf[0, 0]) for leaf in jax.tree.leaves(drawn)}) == 3
    paths = {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(cell, nnx.Param))}
    assert paths == {f"params/{place}{name}" for place in ("", "inner/") for name in ("w_x", "w_h", "b")}
    close(nnx.jit(lambda rnn: rnn(XS))(nnx.RNN(cell)), ours(cell.cell, values(cell))[1])


@pytest.mark.parametrize("cell", [CELLS["dropout"], CELLS["zoneout"]])
def test_a_cell_that_draws_noise_is_refused_where_it_gets_none(cell) -> None:
    with pytest.raises(ValueError, match=r"deterministic=True, expected.*found (Zoneout|SequenceDropout)"):
        RNNCell(cell, 2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="deterministic=True, expected"):
        linen.RNN(LinenCell(cell)).init(jax.random.key(0), XS)


@every_cell
def test_inside_linen_rnn_it_is_unroll(cell) -> None:
    rnn = linen.RNN(LinenCell(cell, deterministic=True), return_carry=True)
    variables = rnn.init(jax.random.key(0), XS)
    params = variables["params"]["cell"]["cell"]
    close(rnn.apply(variables, XS), ours(cell, params))
    carry, ys = rnn.apply(variables, XS, seq_lengths=LENGTHS, reverse=True, keep_order=True)
    expected_carry, expected = ours(cell, params, lengths=LENGTHS, reverse=True)
    close(carry, expected_carry)
    close(VALID * ys, expected)
    close(rnn.apply(variables, turned(XS), time_major=True)[1], turned(ours(cell, params)[1]))


def test_linens_bidirectional_is_ours() -> None:
    rnns = (linen.RNN(LinenCell(GRU(4))), linen.RNN(LinenCell(LSTM(4))))
    variables = linen.Bidirectional(*rnns).init(jax.random.key(0), XS)
    ys = linen.Bidirectional(*rnns).apply(variables, XS, seq_lengths=LENGTHS)
    params = [module["cell"]["cell"] for module in variables["params"].values()]
    layer = Bidirectional(GRU(4), LSTM(4))
    both = layer.init(jax.random.key(0), 2)._replace(forward=params[0], backward=params[1])
    close(VALID * ys, ours(layer, both, lengths=LENGTHS)[1])


LAYERS = CELLS | {
    "both_ways": Bidirectional(GRU(4), GRU(4)),
    "stack_both_ways": Stack((Bidirectional(GRU(4), GRU(4)), Bidirectional(LSTM(4), LSTM(4), "sum"))),
}


@pytest.mark.parametrize("cell", LAYERS.values(), ids=LAYERS)
def test_the_layer_is_unroll_batch_major(cell) -> None:
    layer = Recurrent(cell, 2, deterministic=True, rngs=nnx.Rngs(0))
    mask, resets = (jax.random.bernoulli(jax.random.key(seed), 0.7, (3, 6)) for seed in (2, 3))
    options = {"lengths": LENGTHS, "reverse": True}
    found = layer(XS, mask=mask, resets=resets, return_carries=True, **options)
    marks = {"mask": turned(mask), "resets": turned(resets)}
    carry, ys, carries = unroll(cell, layer.values, turned(XS), return_carries=True, **marks, **options)
    close(found, (carry, turned(ys), turned(carries)))
    close(layer(XS, go_backwards=True)[1], ours(cell, layer.values, reverse=True)[1][:, ::-1])
    other = Recurrent(cell, 2, time_major=True, deterministic=True, rngs=nnx.Rngs(0))
    close(other(turned(XS))[1], turned(ours(cell, layer.values)[1]))


def test_the_layers_noise_comes_from_its_streams() -> None:
    layer = Recurrent(SequenceDropout(LSTM(4), recurrent=0.5), 2, rngs=nnx.Rngs(params=0, dropout=1))
    first, second = layer(XS)[1], layer(XS)[1]
    assert not np.allclose(first, second)
    layer.eval()
    np.testing.assert_array_equal(layer(XS)[1], ours(layer.cell, layer.values)[1])
    key = jax.random.key(5)
    np.testing.assert_array_equal(layer(XS, key=key)[1], ours(layer.cell, layer.values, key=key)[1])
    layer.train()
    assert not np.allclose(layer(XS)[1], layer(XS)[1])
    assert nnx.state(Recurrent(LSTM(4), 2, rngs=nnx.Rngs(0)), nnx.RngState) == nnx.State({})


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.recurrent = Recurrent(SequenceDropout(nested_lstm(8, 2), recurrent=0.1), 2, rngs=rngs)
        self.head = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, xs):
        return self.head(self.recurrent(xs)[1][:, -1])


def test_the_layer_trains_in_a_flax_model() -> None:
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    targets = XS.sum((1, 2))[:, None]

    @nnx.jit
    def step(model, optimizer):
        loss, gradients = nnx.value_and_grad(lambda model: ((model(XS) - targets) ** 2).mean())(model)
        optimizer.update(model, gradients)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]
