import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo

from nlstm_jax.cells import GRU, GRUCarry, GRUParams, count_parameters
from nlstm_jax.unroll import unroll


@zoo.parametrize("gru", "reference")
def test_values_and_gradients_equal_the_reference(name):
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference)


def test_parameters_have_the_documented_shapes_and_count():
    params = jax.eval_shape(lambda: GRU(4).init(jax.random.key(0), 3))
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert shapes == GRUParams(w_x=(3, 12), w_h=(4, 12), b=(12,), b_n=(4,))
    assert jax.eval_shape(lambda: GRU(4, reset_after=False).init(jax.random.key(0), 3)).b_n is None
    assert count_parameters(GRU(4), 3) == 3 * 4 * (3 + 4 + 1) + 4
    assert count_parameters(GRU(4, reset_after=False), 3) == 3 * 4 * (3 + 4 + 1)


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_recurrent_product_reads_what_it_is_told_and_the_state_stays_true(reset_after):
    cell = GRU(4, reset_after=reset_after)
    params, xs, carry = jax.tree.map(jnp.asarray, references.example(cell))
    z = cell.project(params, xs[0])
    found = cell.step(params, carry, z, recurrent_input=jnp.zeros((2, 4)))
    expected = cell.step(params._replace(w_h=0 * params.w_h), carry, z)
    references.assert_trees_close(found, expected, 1e-6)


def test_values_and_gradients_equal_torch():
    torch = pytest.importorskip("torch", reason="the comparison with nn.GRU needs torch (extra: peers)")
    cell = GRU(4)
    params, xs, carry = references.example(cell)
    theirs = torch.nn.GRU(3, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(params.w_x.T))
        theirs.weight_hh_l0.copy_(torch.tensor(params.w_h.T))
        theirs.bias_hh_l0[8:] = torch.tensor(params.b_n)
        theirs.bias_ih_l0[8:] = torch.tensor(params.b[8:])
        theirs.bias_ih_l0[:8] = torch.tensor(params.b[:8]) - theirs.bias_hh_l0[:8]
    weights = references.normal_like(np.zeros((4, 2, 4)), np.random.default_rng(1))
    x, h = torch.tensor(xs, requires_grad=True), torch.tensor(carry.h, requires_grad=True)
    ys, _ = theirs(x, h[None])
    (torch.tensor(weights) * ys).sum().backward()

    with jax.enable_x64(True):

        def loss(params, xs, carry):
            _, ys = unroll(cell, params, xs, carry)
            return (weights * ys).sum(), ys

        both = references.compiled(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
        (_, found), gradients = both(params, xs, carry)
    expected = (
        params._replace(
            w_x=theirs.weight_ih_l0.grad.T.numpy(),
            w_h=theirs.weight_hh_l0.grad.T.numpy(),
            b=theirs.bias_ih_l0.grad.numpy(),
            b_n=theirs.bias_hh_l0.grad[8:].numpy(),
        ),
        x.grad.numpy(),
        GRUCarry(h=h.grad.numpy()),
    )
    np.testing.assert_allclose(found, ys.detach().numpy(), 1e-10, 1e-10)
    references.assert_trees_close(gradients, expected, 1e-10, "gradient")
