import jax
import jax.numpy as jnp
import numpy as np

from nlstm_jax.cells import Elman, nested_lstm
from nlstm_jax.models import Forecaster, count_parameters, merge, split

KEY = jax.random.key(0)


def test_the_notebooks_model_has_19721_parameters():
    assert count_parameters(Forecaster(1, nested_lstm(40, depth=2), key=KEY)) == 19_721


def test_the_output_is_that_of_numpy_with_the_same_weights():
    graph, drawn = split(Forecaster(2, Elman(4), outputs=3, key=KEY))
    rng = np.random.default_rng(0)
    parameters = {name: jnp.asarray(rng.normal(size=value.shape), jnp.float32) for name, value in drawn.items()}
    xs = rng.normal(size=(6, 5, 2))
    p = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    h = np.zeros((5, 4))
    for x in xs:
        h = np.tanh(x @ p["cell/params/w_x"] + h @ p["cell/params/w_h"] + p["cell/params/b"])
    found = merge(graph, parameters)(jnp.asarray(xs, jnp.float32))
    np.testing.assert_allclose(found, h @ p["head/kernel"] + p["head/bias"], rtol=1e-4, atol=1e-5)


def test_the_head_starts_as_keras_dense_does():
    parameters = split(Forecaster(1, Elman(300), outputs=2, key=KEY))[1]
    limit = np.sqrt(6 / 302)
    kernel = np.asarray(parameters["head/kernel"])
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert abs(kernel.std() / (limit / np.sqrt(3)) - 1) < 0.1
    assert not np.asarray(parameters["head/bias"]).any()


def test_dropout_is_drawn_by_the_key_and_scaled():
    width, rate = 400, 0.3
    model = Forecaster(1, Elman(width), outputs=width, dropout_output=rate, key=KEY)
    graph, parameters = split(model)
    model = merge(graph, {**parameters, "head/kernel": jnp.eye(width)})
    xs = jnp.ones((2, 20, 1))
    plain, noisy, again, other = (np.asarray(model(xs, key=key)) for key in (None, *map(jax.random.key, (1, 1, 2))))
    np.testing.assert_array_equal(plain, model(xs))
    np.testing.assert_array_equal(noisy, again)
    assert (noisy != other).any()
    dropped = noisy == 0
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / dropped.size)
    np.testing.assert_allclose(noisy[~dropped], plain[~dropped] / (1 - rate), rtol=1e-5)
