import jax
import numpy as np
import pytest
import references
import zoo

from nlstm_jax.cells import Elman, ElmanCarry, count_parameters
from nlstm_jax.unroll import unroll


@zoo.parametrize("elman", "reference", default=("elman", "elman_relu_no_bias", "elman_hard_sigmoid", "elman_softsign"))
def test_values_and_gradients_equal_the_reference(name):
    references.assert_equals_reference(zoo.build(name), zoo.ENTRIES[name].reference)


def test_parameters_have_the_documented_shapes_and_count():
    params = jax.eval_shape(lambda: Elman(4).init(jax.random.key(0), 3))
    assert (params.w_x.shape, params.w_h.shape, params.b.shape) == ((3, 4), (4, 4), (4,))
    assert count_parameters(Elman(4), 3) == 4 * (3 + 4 + 1)


def test_values_and_gradients_equal_torch():
    torch = pytest.importorskip("torch", reason="the comparison with nn.RNN needs torch (extra: peers)")
    cell = Elman(4)
    params, xs, carry = references.example(cell)
    theirs = torch.nn.RNN(3, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(params.w_x.T))
        theirs.weight_hh_l0.copy_(torch.tensor(params.w_h.T))
        theirs.bias_hh_l0.copy_(torch.tensor(params.b) - theirs.bias_ih_l0)
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
        ),
        x.grad.numpy(),
        ElmanCarry(h=h.grad.numpy()),
    )
    np.testing.assert_allclose(found, ys.detach().numpy(), 1e-10, 1e-10)
    references.assert_trees_close(gradients, expected, 1e-10, "gradient")
