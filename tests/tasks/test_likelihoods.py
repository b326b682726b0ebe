import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nlstm_jax.tasks.likelihoods import LIKELIHOODS, Gaussian, NegativeBinomial, SquaredError

HEADS = np.array([[-3.0, -2.0], [0.0, 0.0], [1.5, 3.0], [4.0, -5.0], [20.0, 1.0], [-8.0, 2.0]])
COUNTS = np.arange(21.0)


def softplus(x):
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def pairs(heads=HEADS, counts=COUNTS):
    """Return every combination of head and count, as NumPy arrays in float64 and as JAX arrays in float32."""
    head, target = np.repeat(heads, len(counts), axis=0), np.tile(counts, len(heads))
    return head, target, jnp.asarray(head, jnp.float32), jnp.asarray(target, jnp.float32)


def test_the_negative_binomial_is_scipys():
    head, target, *ours = pairs()
    mean, alpha = softplus(head[:, 0]) + 1e-6, softplus(head[:, 1]) + 1e-3
    r = 1 / alpha
    expected = stats.nbinom.logpmf(target, r, r / (r + mean))
    np.testing.assert_allclose(-NegativeBinomial().loss(*ours), expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(NegativeBinomial().mean(ours[0]), mean, rtol=1e-5)


def test_the_gaussian_is_scipys():
    head, target, *ours = pairs()
    expected = stats.norm.logpdf(target, head[:, 0], softplus(head[:, 1]) + 1e-2)
    np.testing.assert_allclose(-Gaussian().loss(*ours), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(Gaussian().mean(ours[0]), ours[0][:, 0])


def test_the_squared_error_is_the_head_against_the_target():
    head, target, *ours = pairs()
    np.testing.assert_allclose(SquaredError().loss(ours[0][:, :1], ours[1]), (head[:, 0] - target) ** 2, rtol=1e-6)


@pytest.mark.parametrize("head", [[-3.0, -2.0], [0.0, 0.0], [1.5, 1.0], [3.0, -5.0]])
def test_the_probabilities_of_all_counts_add_up_to_one_around_the_mean(head):
    counts = np.arange(4000.0)
    _, _, *ours = pairs(np.array([head]), counts)
    probabilities = np.exp(-np.asarray(NegativeBinomial().loss(*ours), np.float64))
    assert abs(probabilities.sum() - 1) < 1e-3
    mean = float(NegativeBinomial().mean(ours[0])[0])
    assert abs((counts * probabilities).sum() / mean - 1) < 2e-3
    variance = ((counts - mean) ** 2 * probabilities).sum()
    assert abs(variance / (mean + (softplus(head[1]) + 1e-3) * mean**2) - 1) < 5e-3


def test_the_density_of_the_gaussian_integrates_to_one():
    counts = np.linspace(-30, 30, 6001)
    _, _, *ours = pairs(np.array([[1.5, 0.5]]), counts)
    assert abs(np.exp(-np.asarray(Gaussian().loss(*ours), np.float64)).sum() * 0.01 - 1) < 1e-4


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_loss_and_gradient_are_finite_however_extreme_the_head(name):
    likelihood = LIKELIHOODS[name]
    grid = np.array([(a, b) for a in (-100.0, -30, -1, 0, 30, 100) for b in (-100.0, -30, 0, 30, 100)])
    _, _, head, target = pairs(grid[:, : likelihood.outputs], np.array([0.0, 1, 20]))
    loss, gradient = jax.value_and_grad(lambda head: likelihood.loss(head, target).sum())(head)
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert np.isfinite(likelihood.mean(head)).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_gradient_is_that_of_the_loss(name):
    likelihood = LIKELIHOODS[name]
    _, _, head, target = pairs(np.array([[0.7, -0.4], [2.0, 1.0]])[:, : likelihood.outputs], np.array([0.0, 3, 20]))

    def total(head):
        return likelihood.loss(head, target).sum()

    gradient = np.asarray(jax.grad(total)(head))
    width = 1e-2
    for index in np.ndindex(head.shape):
        slope = (total(head.at[index].add(width)) - total(head.at[index].add(-width))) / (2 * width)
        assert abs(slope - gradient[index]) < 0.02 * (1 + abs(gradient[index]))


def test_only_the_negative_binomial_is_one_of_whole_counts():
    assert {name: likelihood.whole_counts for name, likelihood in LIKELIHOODS.items()} == {
        "mse": False,
        "gaussian": False,
        "negative_binomial": True,
    }
    assert {name: likelihood.outputs for name, likelihood in LIKELIHOODS.items()} == {
        "mse": 1,
        "gaussian": 2,
        "negative_binomial": 2,
    }
