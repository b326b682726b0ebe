"""Penalties and constraints against the loss that they stand for."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from requirements import requires

from nlstm_jax.cells import GRU, LSTM, DeepTransition, Nested, Stack, nested_lstm, with_regularizers
from nlstm_jax.errors import ConfigError
from nlstm_jax.models import LanguageModel, split
from nlstm_jax.settings import COMMON
from nlstm_jax.training import penalties
from nlstm_jax.training.optimizer import build

os.environ.setdefault("KERAS_BACKEND", "jax")

OPTIONS = {key.partition(".")[2]: setting.default for key, setting in COMMON.items() if key.startswith("optimizer.")}
NONE = {f"{kind}_{group}": (0.0,) for kind in penalties.KINDS for group in penalties.GROUPS}
SHAPES = {
    "embedding/embedding": (5, 3),
    "cell/params/w_x": (3, 8),
    "cell/params/w_h": (2, 8),
    "cell/params/b": (8,),
    "cell/params/inner/w_x": (2, 8),
    "cell/params/inner/w_h": (2, 8),
    "cell/params/inner/b": (8,),
    "softmax/w_h": (2, 5),
    "softmax/b": (5,),
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
def test_a_penalty_is_a_part_of_the_loss(kind, clip_norm):
    penalty = {f"{kind}_input_kernel": (0.1,), f"{kind}_recurrent_kernel": (0.2, 0.0), f"{kind}_bias": (0.0, 0.3)}
    weights = {
        "cell/params/w_x": 0.1,
        "cell/params/inner/w_x": 0.1,
        "cell/params/w_h": 0.2,
        "cell/params/inner/b": 0.3,
    }

    def penalised(parameters):
        size = {"l1": jnp.abs, "l2": jnp.square}[kind]
        return loss(parameters) + sum(rate * jnp.sum(size(parameters[name])) for name, rate in weights.items())

    assert_equal(trained(penalty, clip_norm=clip_norm), trained({}, penalised, clip_norm=clip_norm))


def test_l1_l2_and_constraint_together_are_each_of_them():
    penalty = {"l1_input_kernel": (0.3,), "l2_input_kernel": (0.2, 0.1), "max_norm_recurrent_kernel": (1.2,)}

    def penalised(parameters):
        outer, inner = parameters["cell/params/w_x"], parameters["cell/params/inner/w_x"]
        return (
            loss(parameters)
            + 0.3 * (jnp.abs(outer).sum() + jnp.abs(inner).sum())
            + 0.2 * jnp.square(outer).sum()
            + 0.1 * jnp.square(inner).sum()
        )

    assert_equal(trained(penalty), trained({"max_norm_recurrent_kernel": (1.2,)}, penalised))


MODELS = {
    "lstm": LSTM(4, peephole=True),
    "gru": GRU(4),
    "nested_gru": Nested(4, Nested(4, GRU(4))),
    "stack": Stack((nested_lstm(4, 2), LSTM(4, projection=2))),
    "transition": DeepTransition((LSTM(4), LSTM(4))),
    "dropped": with_regularizers(nested_lstm(4, 2), recurrent_dropout=(0.5,), zoneout=(0.1,)),
}
FIELDS = {"input_kernel": {"w_x"}, "recurrent_kernel": {"w_h"}, "bias": {"b", "b_n"}}


def parameters_of(name, **options):
    """A model's parameters by name, all of them 2."""
    model = LanguageModel(5, 3, MODELS[name], key=jax.random.key(0), **options)
    return {key: jnp.full_like(value, 2) for key, value in split(model)[1].items()}


def changed(rule, parameters):
    """By how much a gradient of zero is changed, wherever it is."""
    nothing = {key: jnp.zeros_like(value) for key, value in parameters.items()}
    updates, _ = rule.update(nothing, rule.init(parameters), parameters)
    assert updates.keys() == parameters.keys()
    return {key: np.unique(value).tolist() for key, value in updates.items() if np.asarray(value).any()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("group", FIELDS)
def test_a_group_is_its_fields_on_every_level_of_every_layer_of_the_cell_and_nothing_else(name, group):
    parameters = parameters_of(name, projection=3)
    fields = {key for key in parameters if key.startswith("cell/") and key.split("/")[-1] in FIELDS[group]}
    # A deep transition's later cells have no input weights at all.
    expected = {key: [2.0] for key in fields if parameters[key].size}
    assert expected
    for kind, value in (("l1", 2.0), ("l2", 0.5)):
        (rule,) = penalties.before({f"{kind}_{group}": (value,)})
        assert changed(rule, parameters) == expected
    (rule,) = penalties.after({f"max_norm_{group}": (0.5,)})
    assert changed(rule, parameters).keys() == expected.keys()


@pytest.mark.parametrize(("name", "depth"), [("nested_gru", 3), ("stack", 2), ("dropped", 2)])
def test_values_go_to_their_levels_outermost_first(name, depth):
    parameters = parameters_of(name)
    values = (0.25, 0.5, 1.0)[:depth]
    (rule,) = penalties.before({"l2_bias": values})
    found = changed(rule, parameters)
    assert {key.count("inner") for key in found} == set(range(depth))
    assert found == {key: [4 * values[key.count("inner")]] for key in found}


def test_both_biases_of_a_gru_are_biases():
    parameters = {"cell/params/b": jnp.ones(3), "cell/params/b_n": jnp.ones(1)}
    rule = penalties.before({"l2_bias": (0.5,)})[0]
    updates, _ = rule.update({name: jnp.zeros_like(value) for name, value in parameters.items()}, None, parameters)
    for name, value in parameters.items():
        np.testing.assert_array_equal(updates[name], value)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_no_column_is_longer_than_the_constraint_and_shorter_ones_are_left(name):
    # Columns of all lengths between 0.5 and 3: some within the ball, some without.
    limit, penalty = 1.2, {"max_norm_recurrent_kernel": (1.2, 0.0)}
    found, free = trained(penalty, name=name, steps=1), trained({}, name=name, steps=1)
    constrained = "cell/params/w_h"
    before, after = (np.linalg.norm(tree[constrained], axis=0) for tree in (free, found))
    assert before.max() > limit > before.min()
    np.testing.assert_allclose(after, np.minimum(before, limit), 1e-6)
    np.testing.assert_allclose(found[constrained][:, before < limit], free[constrained][:, before < limit], 1e-6, 1e-6)
    directions = [tree[constrained] / np.linalg.norm(tree[constrained], axis=0) for tree in (found, free)]
    np.testing.assert_allclose(*directions, 1e-5, 1e-6)
    for other in SHAPES.keys() - {constrained}:
        np.testing.assert_array_equal(found[other], free[other])


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_constraint_holds_after_every_step(name):
    limits = {"input_kernel": (0.7, 1.1), "recurrent_kernel": (0.5,), "bias": (0.0, 0.9)}
    rule = build(
        {**OPTIONS, "name": name}, optax.constant_schedule(0.3), {f"max_norm_{k}": v for k, v in limits.items()}
    )
    wanted = {"w_x": 0.7, "inner/w_x": 1.1, "w_h": 0.5, "inner/w_h": 0.5, "inner/b": 0.9}
    parameters, state, free = PARAMETERS, rule.init(PARAMETERS), 0
    step = jax.jit(lambda parameters, state: rule.update(jax.grad(loss)(parameters), state, parameters))
    for _ in range(8):
        updates, state = step(parameters, state)
        parameters = optax.apply_updates(parameters, updates)
        for key, limit in wanted.items():
            norms = np.linalg.norm(np.asarray(parameters[f"cell/params/{key}"], np.float64), axis=0)
            assert (norms <= limit * (1 + 1e-6)).all()
            free += (norms < limit * (1 - 1e-3)).sum()
        assert np.linalg.norm(parameters["cell/params/b"]) > 0.9
    assert free > 0


def test_a_column_of_zeros_stays_finite_under_the_constraint():
    (rule,) = penalties.after({"max_norm_input_kernel": (100.0,)})
    parameters = {"cell/params/w_x": jnp.zeros((2, 3)), "cell/params/layers/1/w_x": jnp.zeros((0, 3))}
    updates, _ = rule.update(parameters, rule.init(parameters), parameters)
    jax.tree.map(np.testing.assert_array_equal, updates, parameters)


def test_the_constraint_is_keras_max_norm():
    keras = requires("keras")
    free = trained({}, steps=1)
    found = trained({"max_norm_input_kernel": (0.8,), "max_norm_bias": (0.8,)}, steps=1)
    for name in ("cell/params/w_x", "cell/params/inner/w_x", "cell/params/b", "cell/params/inner/b"):
        expected = keras.constraints.MaxNorm(0.8, axis=0)(free[name])
        np.testing.assert_allclose(found[name], expected, 1e-5, 1e-6, err_msg=name)


def test_the_joint_constraint_is_keras_max_norm_on_the_kernel_of_both():
    """The inner kernel of the Keras Nested LSTM has W_x above W_h in one matrix."""
    keras = requires("keras")
    free = trained({}, steps=1)
    found = trained({"max_norm_joint_kernel": (0.0, 1.5), "max_norm_recurrent_kernel": (0.8, 0.0)}, steps=1)
    kernels = ("cell/params/inner/w_x", "cell/params/inner/w_h")
    joint = np.concatenate([free[name] for name in kernels])
    expected = keras.constraints.MaxNorm(1.5, axis=0)(joint)
    norms = np.linalg.norm(joint, axis=0)
    assert norms.max() > 1.5 > norms.min()
    np.testing.assert_allclose(np.concatenate([found[name] for name in kernels]), expected, 1e-5, 1e-6)
    np.testing.assert_allclose(np.linalg.norm(found["cell/params/w_h"], axis=0).max(), 0.8, 1e-6)
    for name in SHAPES.keys() - {*kernels, "cell/params/w_h"}:
        np.testing.assert_array_equal(found[name], free[name])


def test_the_joint_constraint_is_one_for_every_cell():
    """The columns of different layers and levels do not count together."""
    parameters = parameters_of("stack")
    (rule,) = penalties.after({"max_norm_joint_kernel": (3.0,)})
    nothing = {key: jnp.zeros_like(value) for key, value in parameters.items()}
    updates, _ = rule.update(nothing, rule.init(parameters), parameters)
    cells = {name.rpartition("/")[0] for name in parameters if name.startswith("cell/")}
    assert len(cells) == 3
    for cell in cells:
        kernels = [parameters[f"{cell}/{name}"] + updates[f"{cell}/{name}"] for name in ("w_x", "w_h")]
        np.testing.assert_allclose(np.linalg.norm(np.concatenate(kernels), axis=0), 3.0, 1e-6)


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (
            {"l1_bias": (0.1, 0.2, 0.3)},
            r"config\.penalty\.l1_bias: 1 value, or one for each of 2 levels, expected, found 3",
        ),
        ({"l2_recurrent_kernel": (0.0, 0.0, 0.3)}, r"config\.penalty\.l2_recurrent_kernel: 1 value, .* found 3"),
        ({"l1_recurrent_kernel": (0.0,) * 3}, r"config\.penalty\.l1_recurrent_kernel: 1 value, .* found 3"),
        ({"max_norm_joint_kernel": (1.0,) * 3}, r"config\.penalty\.max_norm_joint_kernel: 1 value"),
        ({"max_norm_input_kernel": (1.0,) * 3}, r"config\.penalty\.max_norm_input_kernel: 1 value"),
    ],
)
def test_another_number_of_values_than_levels_is_refused(penalty, message):
    with pytest.raises(ConfigError, match=message):
        trained(penalty)


@pytest.mark.parametrize("kind", penalties.KINDS)
@pytest.mark.parametrize(
    ("group", "named"), [("input_kernel", "w_x"), ("recurrent_kernel", "w_h"), ("bias", "b or b_n")]
)
def test_a_group_without_parameters_is_refused(kind, group, named):
    rule = build(OPTIONS, lambda step: 0.1, {f"{kind}_{group}": (0.1,)})
    with pytest.raises(
        ConfigError, match=rf"^config\.penalty\.{kind}_{group}: a cell with parameters named {named} exp"
    ):
        rule.init(
            {"cell/params/w_p": jnp.ones(3), **{f"softmax/{field}": jnp.ones(3) for field in named.split(" or ")}}
        )


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [NONE, {}, None], ids=["zeros", "empty", "none"])
def test_without_penalties_the_optimizer_is_what_it_was(penalty, clip_norm):
    adam = optax.adam(0.1, b1=OPTIONS["beta1"], b2=OPTIONS["beta2"], eps=OPTIONS["epsilon"])
    before = optax.chain(optax.clip_by_global_norm(clip_norm), adam) if clip_norm else adam
    now = build({**OPTIONS, "clip_norm": clip_norm}, 0.1, penalty)
    states, gradients = [rule.init(PARAMETERS) for rule in (now, before)], jax.grad(loss)(PARAMETERS)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    updates, expected = (
        rule.update(gradients, state, PARAMETERS) for rule, state in zip((now, before), states, strict=True)
    )
    jax.tree.map(np.testing.assert_array_equal, updates, expected)
