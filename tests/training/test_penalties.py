"""Penalties and constraints against the loss that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nlstm_jax.errors import ConfigError
from nlstm_jax.settings import COMMON
from nlstm_jax.training import penalties
from nlstm_jax.training.optimizer import build

OPTIONS = {key.partition(".")[2]: setting.default for key, setting in COMMON.items() if key.startswith("optimizer.")}
SHAPES = {
    "embedding/embedding": (5, 3),
    "cell/params/w_x": (3, 8),
    "cell/params/w_h": (2, 8),
    "cell/params/b": (8,),
    "cell/params/inner/w_x": (2, 8),
    "cell/params/inner/w_h": (2, 8),
    "cell/params/inner/b": (8,),
    "softmax/w_h": (2, 5),
}
GENERATOR = np.random.default_rng(0)
PARAMETERS = {name: jnp.asarray(GENERATOR.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}
TARGETS = {name: jnp.asarray(GENERATOR.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}


def loss(parameters):
    return sum(jnp.sum((parameters[name] - TARGETS[name]) ** 2) for name in SHAPES)


def trained(penalty, loss=loss, steps=3, **options):
    """The parameters after a few steps of plain gradient descent, unless `options` say otherwise."""
    settings = {**OPTIONS, "name": "sgd", "clip_norm": 0.0, **options}
    rule = build(settings, lambda step: 0.1 + 0.0 * step, penalty)
    parameters, state = PARAMETERS, rule.init(PARAMETERS)
    for _ in range(steps):
        updates, state = rule.update(jax.grad(loss)(parameters), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return parameters


def assert_equal(found, expected, tolerance=1e-6):
    for name in SHAPES:
        np.testing.assert_allclose(found[name], expected[name], tolerance, tolerance, err_msg=name)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_a_penalty_is_a_part_of_the_loss(kind, clip_norm) -> None:
    penalty = {f"{kind}_input_kernel": (0.1,), f"{kind}_recurrent_kernel": (0.2, 0.0), f"{kind}_bias": (0.0, 0.3)}
    weights = {"w_x": 0.1, "inner/w_x": 0.1, "w_h": 0.2, "inner/b": 0.3}

    def penalised(parameters):
        size = {"l1": jnp.abs, "l2": jnp.square}[kind]
        sizes = {name: jnp.sum(size(parameters[f"cell/params/{name}"])) for name in weights}
        return loss(parameters) + sum(rate * sizes[name] for name, rate in weights.items())

    assert_equal(trained(penalty, clip_norm=clip_norm), trained({}, penalised, clip_norm=clip_norm))


def test_both_biases_of_a_gru_are_biases() -> None:
    parameters = {"cell/params/b": jnp.ones(3), "cell/params/b_n": jnp.ones(1)}
    rule = penalties.before({"l2_bias": (0.5,)})[0]
    updates, _ = rule.update({name: jnp.zeros_like(value) for name, value in parameters.items()}, None, parameters)
    for name, value in parameters.items():
        np.testing.assert_array_equal(updates[name], value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_no_column_is_longer_than_the_constraint_and_shorter_ones_are_left(name) -> None:
    # Columns of all lengths between 0.5 and 3: some within the ball, some without.
    limit, penalty = 1.2, {"max_norm_recurrent_kernel": (1.2, 0.0)}
    found, free = trained(penalty, name=name, steps=1), trained({}, name=name, steps=1)
    constrained = "cell/params/w_h"
    before, after = (np.linalg.norm(tree[constrained], axis=0) for tree in (free, found))
    assert before.max() > limit > before.min()
    np.testing.assert_allclose(after, np.minimum(before, limit), 1e-6)
    np.testing.assert_allclose(found[constrained][:, before < limit], free[constrained][:, before < limit], 1e-6, 1e-6)
    for other in SHAPES.keys() - {constrained}:
        np.testing.assert_array_equal(found[other], free[other])


def test_the_constraint_is_keras_max_norm() -> None:
    keras = pytest.importorskip("keras", reason="the comparison of constraints needs Keras")
    free = trained({}, steps=1)
    found = trained({"max_norm_input_kernel": (0.8,), "max_norm_bias": (0.8,)}, steps=1)
    for name in ("cell/params/w_x", "cell/params/inner/w_x", "cell/params/b", "cell/params/inner/b"):
        expected = keras.constraints.MaxNorm(0.8, axis=0)(free[name])
        np.testing.assert_allclose(found[name], expected, 1e-5, 1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            {"l1_bias": (0.1, 0.2, 0.3)},
            "config.penalty.l1_bias: 1 value, or one for each of 2 levels, expected, found 3",
        ),
        ({"max_norm_input_kernel": (1.0,) * 3}, r"config\.penalty\.max_norm_input_kernel: 1 value"),
    ],
)
def test_another_number_of_values_than_levels_is_refused(penalty, message) -> None:
    with pytest.raises(ConfigError, match=message):
        trained(penalty)


def test_a_group_without_parameters_is_refused() -> None:
    rule = build(OPTIONS, lambda step: 0.1, {"l2_recurrent_kernel": (0.1,)})
    with pytest.raises(ConfigError, match=r"config\.penalty\.l2_recurrent_kernel: a cell with parameters named w_h"):
        rule.init({"cell/params/b": jnp.ones(3), "softmax/w_h": jnp.ones(3)})


def test_without_penalties_the_optimizers_state_is_what_it_was() -> None:
    none = {f"{kind}_{group}": (0.0,) for kind in penalties.KINDS for group in penalties.GROUPS}
    with_none, without = (build(OPTIONS, lambda step: 0.1, penalty).init(PARAMETERS) for penalty in (none, None))
    assert jax.tree.structure(with_none) == jax.tree.structure(without)
