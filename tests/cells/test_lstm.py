import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from flax import nnx

from nlstm_jax.cells import LSTM, LSTMCarry, LSTMNorm, LSTMParams, count_parameters
from nlstm_jax.unroll import unroll

KEY = jax.random.key(0)
# Each option, and each pair of those that meet in an equation.
BY_DEFAULT = (
    "lstm",
    "lstm_no_bias",
    "lstm_add",
    "lstm_wide_projection",
    "lstm_hard_sigmoid_keras2",
    *zoo.names("lstm", "pair"),
)


@zoo.parametrize("lstm", "reference", default=BY_DEFAULT)
def test_values_and_gradients_equal_the_reference(name):
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference)


def test_parameters_have_the_documented_shapes():
    params = jax.eval_shape(lambda: LSTM(4, peephole=True, projection=2, layer_norm=True).init(KEY, 3))
    assert jax.tree.map(lambda leaf: leaf.shape, params) == LSTMParams(
        w_x=(3, 16),
        w_h=(2, 16),
        b=(16,),
        peephole=(3, 4),
        w_p=(4, 2),
        norm=LSTMNorm(x=((16,), (16,)), h=((16,), (16,)), c=((4,), (4,))),
    )
    plain = jax.eval_shape(lambda: LSTM(4, use_bias=False).init(KEY, 3))
    assert (plain.b, plain.peephole, plain.w_p, plain.norm) == (None, None, None, None)
    assert LSTM(4).out_features == 4
    assert LSTM(4, projection=2).out_features == 2
    carry = LSTM(4, projection=2).initial_carry((5,))
    assert (carry.c.shape, carry.h.shape) == ((5, 4), (5, 2))


@pytest.mark.parametrize(
    ("cell", "in_features", "expected"),
    [
        (LSTM(128), 1, 66_560),
        (LSTM(4), 3, 4 * 4 * (3 + 4 + 1)),
        (LSTM(4, use_bias=False), 3, 4 * 4 * (3 + 4)),
        (LSTM(4, peephole=True), 3, 4 * 4 * (3 + 4 + 1) + 3 * 4),
        (LSTM(4, projection=2), 3, 4 * 4 * (3 + 2 + 1) + 4 * 2),
        (LSTM(4, layer_norm=True), 3, 4 * 4 * (3 + 4 + 1) + 2 * (16 + 16 + 4)),
    ],
)
def test_parameter_counts(cell, in_features, expected):
    assert count_parameters(cell, in_features) == expected


@pytest.mark.parametrize("projection", [None, 2])
def test_values_and_gradients_equal_torch(projection):
    torch = pytest.importorskip("torch", reason="the comparison with nn.LSTM needs torch (extra: peers)")
    cell = LSTM(4, projection=projection)
    params, xs, carry = references.example(cell)
    theirs = torch.nn.LSTM(3, 4, proj_size=projection or 0, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(params.w_x.T))
        theirs.weight_hh_l0.copy_(torch.tensor(params.w_h.T))
        theirs.bias_ih_l0.copy_(torch.tensor(params.b) - theirs.bias_hh_l0)
        if projection:
            theirs.weight_hr_l0.copy_(torch.tensor(params.w_p.T))
    weights = references.normal_like(carry, np.random.default_rng(1))
    x, c, h = (torch.tensor(value, requires_grad=True) for value in (xs, carry.c, carry.h))
    ys, (last_h, last_c) = theirs(x, (h[None], c[None]))
    ((torch.tensor(weights.h) * ys).sum() + (torch.tensor(weights.c) * last_c[0]).sum()).backward()

    with jax.enable_x64(True):

        def loss(params, xs, carry):
            last, ys = unroll(cell, params, xs, carry)
            return (weights.h * ys).sum() + (weights.c * last.c).sum(), (last, ys)

        both = references.compiled(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
        (_, found), gradients = both(params, xs, carry)
    expected = (
        params._replace(
            w_x=theirs.weight_ih_l0.grad.T.numpy(),
            w_h=theirs.weight_hh_l0.grad.T.numpy(),
            b=theirs.bias_ih_l0.grad.numpy(),
            w_p=theirs.weight_hr_l0.grad.T.numpy() if projection else None,
        ),
        x.grad.numpy(),
        LSTMCarry(c=c.grad.numpy(), h=h.grad.numpy()),
    )
    last = LSTMCarry(c=last_c[0].detach().numpy(), h=last_h[0].detach().numpy())
    references.assert_trees_close(found, (last, ys.detach().numpy()), 1e-10, "value")
    references.assert_trees_close(gradients, expected, 1e-10, "gradient")


def test_values_and_gradients_equal_flax():
    cell = LSTM(4)
    params, xs, carry = references.example(cell)
    with jax.enable_x64(True):

        def in_flax(params, xs, carry):
            model = nnx.OptimizedLSTMCell(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
            model.dense_i.kernel[...] = params.w_x
            model.dense_h.kernel[...] = params.w_h
            model.dense_h.bias[...] = params.b
            state, total = (carry.c, carry.h), 0.0
            for t in range(len(xs)):
                state, y = model(state, xs[t])
                total += (y**2).sum() / (t + 1)
            return total, LSTMCarry(*state)

        def in_ours(params, xs, carry):
            last, ys = unroll(cell, params, xs, carry)
            return ((ys**2).sum((1, 2)) / jnp.arange(1, len(ys) + 1)).sum(), last

        arrays = jax.tree.map(jnp.asarray, (params, xs, carry))
        expected, found = (
            references.compiled(jax.value_and_grad(side, argnums=(0, 1, 2), has_aux=True))(*arrays)
            for side in (in_flax, in_ours)
        )
    references.assert_trees_close(found, expected, 1e-10, "Flax")


@pytest.mark.parametrize("scheme", ["default", "keras", "keras_inner"])
@pytest.mark.parametrize("forget_bias", [1.0, 0.5, 0.0])
def test_forget_bias_is_stored_in_its_block_of_the_bias_and_nowhere_else(scheme, forget_bias):
    bias = LSTM(4, forget_bias=forget_bias, init_scheme=scheme).init(KEY, 3).b
    np.testing.assert_array_equal(bias, np.repeat([0.0, forget_bias, 0.0, 0.0], 4))


def test_forget_bias_is_not_added_in_the_forward_pass():
    params, xs, _ = references.example(LSTM(4))
    one, zero = (references.run(LSTM(4, forget_bias=value), params, xs)[1] for value in (1.0, 0.0))
    np.testing.assert_array_equal(one, zero)


def test_layer_norm_starts_as_gain_one_and_shift_zero():
    for norm in LSTM(4, layer_norm=True).init(KEY, 3).norm:
        np.testing.assert_array_equal(norm.gain, np.ones_like(norm.gain))
        np.testing.assert_array_equal(norm.shift, np.zeros_like(norm.shift))


@pytest.mark.parametrize("scheme", ["default", "uniform(0.1)"])
def test_an_option_moves_no_other_parameters_draw(scheme):
    plain = LSTM(4, init_scheme=scheme).init(KEY, 3)
    rich = LSTM(4, peephole=True, layer_norm=True, gating="add", init_scheme=scheme).init(KEY, 3)
    for name in ("w_x", "w_h", "b"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(rich, name), err_msg=name)
    projected = LSTM(4, projection=2, use_bias=False, peephole=True, init_scheme=scheme).init(KEY, 3)
    np.testing.assert_array_equal(projected.w_x, plain.w_x)
    np.testing.assert_array_equal(projected.peephole, rich.peephole)
    if scheme != "default":
        assert rich.peephole.all()
        assert len(np.unique(np.concatenate([leaf.ravel() for leaf in plain[:3]]))) == 48 + 64 + 16


def test_the_recurrent_product_reads_what_it_is_told_and_the_memory_stays_true():
    cell = LSTM(4, peephole=True)
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell))
    z = cell.project(params, xs[0])
    found = cell.step(params, carry, z, recurrent_input=jnp.zeros((2, 4)))
    expected = cell.step(params._replace(w_h=0 * params.w_h), carry, z)
    references.assert_trees_close(found, expected, 1e-6)


def test_bfloat16_is_for_the_products_alone():
    wide, narrow = LSTM(16), LSTM(16, dtype=jnp.bfloat16)
    params, xs = narrow.init(KEY, 8), jax.random.normal(KEY, (4, 2, 8))
    carry, ys = references.run(narrow, params, xs)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, carry, ys))} == {jnp.dtype("float32")}
    exact = references.run(wide, params, xs)[1]
    np.testing.assert_allclose(ys, exact, rtol=0, atol=2e-2)
    assert not np.array_equal(ys, exact)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gating": "plus"}, r"plus[\s\S]*multiply|multiply[\s\S]*plus"),
        ({"candidate_activation": "tanhh"}, r"tanhh[\s\S]*identity|identity[\s\S]*tanhh"),
        ({"init_scheme": "kears"}, r"kears[\s\S]*keras|keras[\s\S]*kears"),
    ],
)
def test_an_unknown_option_is_refused_with_what_is_accepted(options, named):
    with pytest.raises(ValueError, match=named):
        LSTM(4, **options)
