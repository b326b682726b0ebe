import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.adapters.weights import check_order, from_keras, to_keras
from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    BidirectionalCarry,
    Elman,
    ElmanCarry,
    GRUCarry,
    LSTMCarry,
    Nested,
    Stack,
    nested_lstm,
    spec_repr,
)
from nlstm_jax.errors import DataError

os.environ["KERAS_BACKEND"] = "jax"

KEY = jax.random.key(0)
KINDS = ("lstm", "gru", "gru before", "simple", "both")
CARRIES = {"lstm": LSTMCarry, "gru": GRUCarry, "gru before": GRUCarry, "simple": ElmanCarry}


@pytest.fixture(scope="module")
def keras():
    module = pytest.importorskip("keras", reason="the comparison with Keras' layers needs keras (extra: peers)")
    assert module.backend.backend() == "jax"
    return module


def drawn(layer):
    """Return random parameters. Unlike true initial values they need no compilation."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), references.example(layer)[0])


def case(index):
    """Return the options of a case: one of five kinds, and all other options in cycles of different lengths."""
    generator = np.random.default_rng(index)
    steps, batch, features, units = (int(generator.integers(*bounds)) for bounds in ((2, 9), (1, 5), (1, 6), (2, 7)))
    ends, holes = generator.integers(0, steps + 1, (batch, 1)), generator.random((batch, steps)) < 0.6
    within = np.arange(steps) < ends
    return {
        "kind": KINDS[index % 5],
        "mask": (None, within, holes & within)[index % 3],
        "padding": ("whole", "padded", "holes")[index % 3],
        "go_backwards": index % 4 in (1, 2),
        "use_bias": index % 7 != 3,
        "activation": ("tanh", "relu", "softsign")[index // 2 % 3],
        "recurrent_activation": ("sigmoid", "hard_sigmoid")[index // 3 % 2],
        "merge_mode": ("concat", "sum", "mul", "ave")[index // 5 % 4],
        "shape": (batch, steps, features),
        "units": units,
        "seed": index,
    }


def named(index):
    options = case(index)
    words = [options["kind"].replace(" ", "_"), options["padding"], options["activation"]]
    words += ["backwards"] * options["go_backwards"] + ["bare"] * (not options["use_bias"])
    return pytest.param(options, id="-".join(words), marks=pytest.mark.slow if index >= 5 else ())


def layer_of(keras, options):
    """Return a Keras layer with random weights."""
    kind, layers = options["kind"], keras.layers
    given = {name: options[name] for name in ("activation", "use_bias", "go_backwards")}
    given |= {"return_sequences": True, "return_state": True}
    if kind != "simple":
        given["recurrent_activation"] = options["recurrent_activation"]
    if kind in ("lstm", "both"):
        layer = layers.LSTM(options["units"], **given)
    elif kind == "simple":
        layer = layers.SimpleRNN(options["units"], **given)
    else:
        layer = layers.GRU(options["units"], reset_after=kind == "gru", **given)
    if kind == "both":
        turned = {"go_backwards": not given["go_backwards"], "name": "backward_lstm"}
        back = layers.LSTM(options["units"], **given | turned)
        layer = layers.Bidirectional(layer, options["merge_mode"], backward_layer=back)
    layer.build((None, *options["shape"][1:]))
    generator = np.random.default_rng(options["seed"])
    layer.set_weights([0.5 * generator.standard_normal(weight.shape) for weight in layer.weights])
    return layer


def names_of(layer):
    return {weight.path: np.asarray(weight.value) for weight in layer.weights}


def carry_from(kind, states):
    if kind == "both":
        return BidirectionalCarry(carry_from("lstm", states[:2]), carry_from("lstm", states[2:]))
    return CARRIES[kind](**dict(zip("hc", states, strict=False)))


def in_keras_order(kind, gradients):
    """Convert gradients by this library's parameters to those by Keras' weights, in the order of `layer.weights`."""
    if kind == "both":
        return [*in_keras_order("lstm", gradients.forward), *in_keras_order("lstm", gradients.backward)]
    found = [np.asarray(leaf) for leaf in (gradients.w_x, gradients.w_h, gradients.b) if leaf is not None]
    if kind in ("lstm", "simple"):
        return found
    if len(found) == 3 and kind == "gru":
        found[2] = np.stack([found[2], np.concatenate([found[2][: -len(gradients.b_n)], gradients.b_n])])
    turned = [np.split(leaf, 3, axis=-1) for leaf in found]
    return [np.concatenate([z, r, n], axis=-1) for r, z, n in turned]


@pytest.mark.parametrize("options", [named(index) for index in range(50)])
def test_values_and_gradients_equal_keras(keras, options):
    kind, mask, shape = options["kind"], options["mask"], options["shape"]
    theirs = layer_of(keras, options)
    generator = np.random.default_rng(options["seed"] + 1)
    xs, *start = (
        jnp.asarray(generator.standard_normal(size), jnp.float32)
        for size in (shape, *[(shape[0], options["units"])] * {"lstm": 2, "both": 4}.get(kind, 1))
    )
    seen = np.ones(shape[:2]) if mask is None else mask
    seen = (seen[:, ::-1] if options["go_backwards"] else seen)[..., None]

    def in_keras(variables, xs, start):
        seeds = [variable.value for variable in theirs.non_trainable_variables]
        (ys, *last), _ = theirs.stateless_call(variables, seeds, xs, initial_state=start, mask=mask)
        return carry_from(kind, last), ys * seen

    layer_and_params = from_keras(
        names_of(theirs),
        activation=options["activation"],
        recurrent_activation=options["recurrent_activation"] if kind != "simple" else None,
        reset_after=kind == "gru" if "gru" in kind else None,
        merge_mode=options["merge_mode"] if kind == "both" else None,
    )

    def in_ours(params, xs, start):
        layer = Recurrent(layer_and_params[0], shape[-1], rngs=KEY)
        layer.params = nnx.data(jax.tree.map(nnx.Param, params))
        marked = None if mask is None else jnp.asarray(mask)
        carry, ys = layer(xs, carry_from(kind, start), mask=marked, go_backwards=options["go_backwards"])
        return carry, ys * seen

    variables = [variable.value for variable in theirs.trainable_variables]
    weights = references.normal_like(jax.eval_shape(in_keras, variables, xs, start), generator)

    def both(side, *arguments):
        def loss(*arguments):
            results = side(*arguments)
            return references.weigh(weights, results), results

        return references.compiled(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*arguments)

    (_, expected), expected_gradients = both(in_keras, variables, xs, start)
    (_, found), gradients = both(in_ours, layer_and_params[1], xs, start)
    references.assert_trees_close(found, expected, 1e-5, "value of (carry, ys)")
    found_gradients = (in_keras_order(kind, gradients[0]), *gradients[1:])
    references.assert_trees_close(found_gradients, expected_gradients, 1e-5, "gradient by (weights, xs, start)")


def test_layers_of_a_model_come_as_a_stack(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((5, 3)),
            layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
            layers.GRU(2, return_sequences=True),
        ]
    )
    weights = [np.random.default_rng(0).standard_normal(weight.shape) for weight in model.weights]
    model.set_weights(weights)
    xs = np.random.default_rng(1).standard_normal((2, 5, 3)).astype(np.float32)
    layer, params = from_keras(names_of(model))
    plain = LSTM(4)
    assert layer == Stack((Bidirectional(plain, plain), GRU(2)))
    ys = references.run(layer, params, xs.swapaxes(0, 1))[1].swapaxes(0, 1)
    np.testing.assert_allclose(ys, np.asarray(model(xs)), 1e-5, 1e-5)


MODEL = {"net/lstm/lstm_cell": LSTM(4), "net/bidirectional": Bidirectional(GRU(2), GRU(2)), "net/head": LSTM(6)}


def model_tensors():
    """Return the weights of a Keras model of three recurrent layers and a dense one, sorted by name as in a file."""
    tensors, width = {"net/dense/kernel": np.ones((6, 2)), "net/dense/bias": np.ones(2)}, 4
    for name, layer in reversed(MODEL.items()):
        for field, value in to_keras(layer, layer.init(jax.random.key(0), width)).items():
            tensors[f"{name}/{field}"] = value
    return tensors


def test_layers_are_picked_and_ordered_by_name():
    cell, params = from_keras(model_tensors(), "net/", layers=("lstm", "bidirectional", "head"))
    assert cell == Stack(tuple(MODEL.values()))
    assert params.layers[1].forward.w_x.shape == (4, 6)
    assert from_keras(model_tensors(), layers=["net/head"])[0] == LSTM(6)


def test_names_that_do_not_tell_the_order_are_refused():
    told = r"^from_keras: layers: the names .*: net/head, net/bidirectional, net/lstm$"
    with pytest.raises(DataError, match=told):
        check_order(model_tensors())
    check_order(
        {f"lstm{end}/{name}": np.ones((4, 16)) for end in ("", "_1") for name in ("kernel", "recurrent_kernel")}
    )


def test_a_dense_layer_is_told_from_a_recurrent_one():
    told = r"^from_keras: net/dense/recurrent_kernel: missing; if that is no .*: net/head, net/bidirectional, net/lstm"
    with pytest.raises(DataError, match=told):
        from_keras(model_tensors())


def test_a_layer_is_named_once():
    with pytest.raises(DataError, match=r"^from_keras: layers: every layer once expected, found lstm, net/lstm$"):
        from_keras(model_tensors(), layers=("lstm", "net/lstm"))


TOLD = {
    "merge_mode": (LSTM(4), {"merge_mode": "sum"}, r"merge_mode: none expected.*found 'sum'"),
    "reset_after": (LSTM(4), {"reset_after": False}, r"reset_after: none expected.*found False"),
    "a gate": (Elman(4), {"recurrent_activation": "relu"}, r"recurrent_activation: none expected.*found 'relu'"),
    "after": (
        GRU(4),
        {"reset_after": False},
        r"bias: the shape \[12\] expected with reset_after=False, found \[2, 12\]",
    ),
    "before": (GRU(4, reset_after=False), {"reset_after": True}, r"bias: .*\[2, 12\].* expected.*found \[12\]"),
}


@pytest.mark.parametrize(("layer", "options", "message"), TOLD.values(), ids=TOLD)
def test_what_the_tensors_contradict_is_refused(layer, options, message):
    with pytest.raises(DataError, match=message):
        from_keras(to_keras(layer, drawn(layer)), **options)


@pytest.mark.parametrize("name", ["gru", "net", ""])
def test_a_name_of_no_one_layer_is_told_with_those_that_there_are(name):
    with pytest.raises(DataError, match=rf"^from_keras: layers: the name of one layer of net/.* found '{name}'"):
        from_keras(model_tensors(), layers=(name,))


def test_a_backward_layer_of_another_name_is_no_second_layer_of_a_stack(keras):
    lstm = keras.layers.LSTM
    theirs = keras.layers.Bidirectional(lstm(3), backward_layer=lstm(3, go_backwards=True, name="mine"))
    theirs.build((None, 5, 3))
    with pytest.raises(DataError, match=r"forward_lstm\w*/lstm_cell"):
        from_keras(names_of(theirs))


def test_keras_takes_what_is_written_for_it(keras):
    cell = Bidirectional(GRU(4), GRU(4))
    params, xs, _ = references.example(cell)
    params, xs = jax.tree.map(jnp.asarray, (params, xs.astype(np.float32)))
    theirs = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True))
    theirs.build((None, 4, 3))
    theirs.set_weights(list(to_keras(cell, params).values()))
    expected = np.asarray(theirs(xs.swapaxes(0, 1))).swapaxes(0, 1)
    np.testing.assert_allclose(references.run(cell, params, xs)[1], expected, 1e-5, 1e-5)


CELLS = {
    "lstm": LSTM(4),
    "lstm_no_bias": LSTM(4, use_bias=False),
    "lstm_activations": LSTM(4, candidate_activation="relu", output_activation="relu", gate_activation="hard_sigmoid"),
    "gru": GRU(4),
    "gru_no_bias": GRU(4, use_bias=False),
    "gru_reset_before": GRU(4, reset_after=False),
    "gru_reset_before_no_bias": GRU(4, reset_after=False, use_bias=False),
    "gru_activations": GRU(4, candidate_activation="softsign", gate_activation="identity"),
    "elman": Elman(4),
    "elman_no_bias": Elman(4, activation="relu", use_bias=False),
}


@pytest.mark.parametrize("structure", ["cell", "both", "stack", "stack of both"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_way_to_keras_and_back_changes_no_bit(cell, structure):
    layer = Bidirectional(cell, cell, "ave") if "both" in structure else cell
    layer = Stack((layer,) * 12) if "stack" in structure else layer
    params = drawn(layer)
    activation = getattr(cell, "candidate_activation", None) or cell.activation
    gate = getattr(cell, "gate_activation", "sigmoid")
    back, values = from_keras(
        to_keras(layer, params),
        activation={"identity": "linear"}.get(activation, activation),
        recurrent_activation={"identity": "linear"}.get(gate, gate),
        reset_after=getattr(cell, "reset_after", True),
        merge_mode="ave" if "both" in structure else None,
    )
    assert back == layer
    references.assert_trees_close(values, params, 0.0)


def without(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def with_(name, shape):
    return lambda tensors: tensors | {name: np.zeros(shape, np.float32)}


LAYERS = {
    "lstm": Stack((LSTM(4), LSTM(4))),
    "gru": GRU(4),
    "both": Bidirectional(LSTM(4), LSTM(4)),
    "nested": nested_lstm(4, 3, "add"),
}
MISTAKES = {
    "no kernel": ("lstm", without("layer_1/kernel"), r"m/layer_1/kernel: missing"),
    "no recurrent kernel": ("lstm", without("layer_0/recurrent_kernel"), r"m/layer_0/recurrent_kernel: missing"),
    "one axis": ("lstm", with_("layer_0/kernel", (16,)), r"m/layer_0/kernel: .*\[16\]"),
    "five gates": ("gru", with_("recurrent_kernel", (4, 20)), r"m/recurrent_kernel: .*\[4, 20\]"),
    "another width": ("gru", with_("kernel", (3, 16)), r"m/kernel: .*12.*\[3, 16\]"),
    "an LSTM's bias": ("gru", with_("bias", (2, 16)), r"m/bias: .*\[2, 12\].*\[2, 16\]"),
    "other inputs than the layer below has outputs": ("lstm", with_("layer_1/kernel", (5, 16)), r"m/layer_1/kernel"),
    "other inputs than the other direction": ("both", with_("backward/kernel", (5, 16)), r"m/backward/kernel"),
    "no recurrent kernel backwards": ("both", without("backward/recurrent_kernel"), r"m/backward/recurrent_kernel"),
    "left over": ("lstm", with_("layer_0/gamma", (4,)), r"no place for m/layer_0/gamma"),
    "no bias of one level": ("nested", without("bias_2"), r"m/bias_2: missing"),
    "a bias of one level": ("nested", without("bias_1"), r"m/bias_"),
    "no kernel of one level": ("nested", without("kernel_2"), r"m/kernel_[23]"),
    "no hidden rows": ("nested", with_("kernel_2", (4, 16)), r"m/kernel_2: .*\[8, 16\].*\[4, 16\]"),
}


@pytest.mark.parametrize(("layer", "broken", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_tensor_is_told_by_its_full_name(layer, broken, named):
    layer = LAYERS[layer]
    tensors = broken(to_keras(layer, drawn(layer)))
    with pytest.raises(DataError, match=named):
        from_keras({f"m/{name}": value for name, value in tensors.items()}, "m/")


def test_a_wrong_prefix_is_told_with_the_names_that_there_are():
    with pytest.raises(DataError, match=r"(?s)'n/'.*m/kernel"):
        from_keras({f"m/{name}": value for name, value in to_keras(GRU(4), drawn(GRU(4))).items()}, "n/")


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (LSTM(4, peephole=True), "LSTM: peephole=False expected, found True"),
        (LSTM(4, projection=2), "LSTM: projection=None expected, found 2"),
        (LSTM(4, layer_norm=True), "LSTM: layer_norm=False expected, found True"),
        (LSTM(4, candidate_activation="identity"), "LSTM: output_activation='identity' expected, found 'tanh'"),
        (nested_lstm(4, 2), "Nested: gating='add' expected, found 'multiply'"),
        (Nested(4, GRU(4), gating="add"), "an LSTM as the innermost level expected, found GRU"),
        (Nested(4, LSTM(4, gating="add", peephole=True), gating="add"), "LSTM: peephole=False expected, found True"),
        (
            Nested(4, LSTM(4, gating="add"), gating="add", gate_activation="relu"),
            "LSTM: gate_activation='relu' expected",
        ),
        (Stack((LSTM(4), LSTM(4)), residual=True), "Stack: residual=False expected, found True"),
    ],
    ids=lambda value: "" if isinstance(value, str) else spec_repr(value).replace("features=4", ""),
)
def test_what_keras_does_not_have_is_refused_by_name(layer, named):
    with pytest.raises(ValueError, match=named):
        to_keras(layer, drawn(layer))


def test_biases_in_half_precision_are_added_in_single() -> None:
    generator = np.random.default_rng(9)
    shapes = {"gru/gru_cell/kernel": (3, 12), "gru/gru_cell/recurrent_kernel": (4, 12), "gru/gru_cell/bias": (2, 12)}
    halves = {name: generator.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}
    singles = {name: value.astype(np.float32) for name, value in halves.items()}
    ours, expected = (from_keras(tensors)[1] for tensors in (halves, singles))
    for leaf, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, other)
