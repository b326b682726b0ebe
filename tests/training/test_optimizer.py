import os

import jax.numpy as jnp
import numpy as np
import pytest
from requirements import requires

from nlstm_jax.settings import COMMON
from nlstm_jax.training.optimizer import build, learning_rate_schedule

os.environ.setdefault("KERAS_BACKEND", "jax")

OPTIONS = {key.partition(".")[2]: setting.default for key, setting in COMMON.items() if key.startswith("optimizer.")}
PARAMETERS = np.array([0.5, -2.0, 3.0])
GRADIENTS = [np.array([0.3, -0.1, 0.2]), np.array([-0.2, 0.4, 0.1])]


def learning_rates(steps, total_steps=1000, steps_per_epoch=10.0, **options):
    rate = learning_rate_schedule({**OPTIONS, "learning_rate": 0.8, **options}, total_steps, steps_per_epoch)
    return [round(float(rate(step)), 6) for step in steps]


def test_constant_is_constant():
    assert learning_rates([0, 1, 999], schedule="constant") == [0.8, 0.8, 0.8]


@pytest.mark.parametrize("name", ["constant", "cosine", "halving"])
def test_warmup_is_linear_from_nothing_to_the_peak(name):
    assert learning_rates([0, 1, 2, 3, 4], schedule=name, warmup_steps=4) == [0, 0.2, 0.4, 0.6, 0.8]


def test_cosine_goes_down_to_its_last_fraction_at_the_last_step():
    options = {"schedule": "cosine", "final_fraction": 0.1, "warmup_steps": 20}
    found = learning_rates([20, 45, 70, 120, 500], total_steps=120, **options)
    cosine = [0.8 * (0.1 + 0.9 * (1 + np.cos(np.pi * part)) / 2) for part in (0, 0.25, 0.5, 1, 1)]
    np.testing.assert_allclose(found, cosine, atol=2e-6)
    assert found[-1] == 0.08
    assert learning_rates([100], total_steps=100, schedule="cosine") == [0]


def test_halving_halves_at_once_and_then_every_so_many_epochs():
    options = {"schedule": "halving", "halve_after_epochs": 3.0, "halve_every_epochs": 2.0}
    steps = [0, 29, 30, 49, 50, 69, 70]
    assert learning_rates(steps, **options) == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1]


def test_halving_counts_epochs_that_are_not_whole_steps():
    options = {"schedule": "halving", "halve_after_epochs": 4.0, "halve_every_epochs": 1.0}
    # 11,274 poems in batches of 64: the epochs 4, 5, 6 end within the steps 704, 880 and 1056.
    found = learning_rates([704, 705, 880, 881, 1056, 1057], steps_per_epoch=11_274 / 64, **options)
    assert found == [0.8, 0.4, 0.4, 0.2, 0.2, 0.1]
    # Thirds are not exact in floating point: epoch 4 ends with step 40 all the same.
    assert learning_rates([39, 40], steps_per_epoch=10 / 3 * 3, **options) == [0.8, 0.4]


def steps_by(name, **options):
    """The parameters after each of two steps."""
    rule = build({**OPTIONS, "clip_norm": 0.0, "name": name, **options}, lambda step: 0.1 / (step + 1))
    parameters = jnp.asarray(PARAMETERS, jnp.float32)
    state, after = rule.init(parameters), []
    for gradient in GRADIENTS:
        updates, state = rule.update(jnp.asarray(gradient, jnp.float32), state, parameters)
        parameters = parameters + updates
        after.append(np.asarray(parameters))
    return after


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adam_and_adamw_are_the_papers(decay):
    found = steps_by("adamw" if decay else "adam", beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=decay)
    p, m, v = PARAMETERS, 0.0, 0.0
    for number, g in enumerate(GRADIENTS, start=1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        step = (m / (1 - 0.8**number)) / (np.sqrt(v / (1 - 0.95**number)) + 1e-3)
        p = p - 0.1 / number * (step + decay * p)
        np.testing.assert_allclose(found[number - 1], p, rtol=1e-5)


def test_keras_adam_adds_epsilon_before_the_bias_is_corrected():
    found = steps_by("keras_adam", beta1=0.8, beta2=0.95, epsilon=1e-1)
    p, m, v = PARAMETERS, 0.0, 0.0
    for number, g in enumerate(GRADIENTS, start=1):
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        rate = 0.1 / number * np.sqrt(1 - 0.95**number) / (1 - 0.8**number)
        p = p - rate * m / (np.sqrt(v) + 1e-1)
        np.testing.assert_allclose(found[number - 1], p, rtol=1e-5)
    assert not np.allclose(found[0], steps_by("adam", beta1=0.8, beta2=0.95, epsilon=1e-1)[0], rtol=1e-2)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_keras_adam_is_that_of_keras(epsilon):
    keras = requires("keras")
    gradients = [scale * np.asarray(GRADIENTS[0], np.float32) for scale in (1e-4, 1, -0.3, 1e-3, 0)]
    rule = build({**OPTIONS, "clip_norm": 0.0, "name": "keras_adam", "epsilon": epsilon}, lambda step: 0.1)
    parameters = jnp.asarray(PARAMETERS, jnp.float32)
    state = rule.init(parameters)
    variable = keras.Variable(np.asarray(PARAMETERS, np.float32))
    adam = keras.optimizers.Adam(0.1, epsilon=epsilon)
    for gradient in gradients:
        updates, state = rule.update(jnp.asarray(gradient), state, parameters)
        parameters = parameters + updates
        adam.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        np.testing.assert_allclose(parameters, np.asarray(variable), rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_the_gradient_with_momentum(momentum):
    found = steps_by("sgd", momentum=momentum)
    p, trace = PARAMETERS, 0.0
    for number, g in enumerate(GRADIENTS, start=1):
        trace = momentum * trace + g
        p = p - 0.1 / number * trace
        np.testing.assert_allclose(found[number - 1], p, rtol=1e-6)


def test_rmsprop_divides_by_the_running_root_mean_square():
    found = steps_by("rmsprop", beta2=0.8, epsilon=1e-3)
    p, v = PARAMETERS, 0.0
    for number, g in enumerate(GRADIENTS, start=1):
        v = 0.8 * v + 0.2 * g**2
        p = p - 0.1 / number * g / np.sqrt(v + 1e-3)
        np.testing.assert_allclose(found[number - 1], p, rtol=1e-5)


@pytest.mark.parametrize(("clip", "factor"), [(0.0, 1), (1.0, 1 / 5), (5.0, 1), (10.0, 1)])
def test_a_gradient_longer_than_allowed_is_shortened_all_together(clip, factor):
    rule = build({**OPTIONS, "name": "sgd", "clip_norm": clip}, lambda step: 1.0)
    gradient = {"a": jnp.asarray([3.0]), "b": jnp.asarray([[0.0, -4.0]])}
    updates, _ = rule.update(gradient, rule.init(gradient), gradient)
    np.testing.assert_allclose(updates["a"], [-3 * factor], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [[0, 4 * factor]], rtol=1e-6)
