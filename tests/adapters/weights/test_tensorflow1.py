"""Tests against a float64 NumPy loop with the semantics of TensorFlow 1's cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlstm_jax.adapters.weights import from_tensorflow1
from nlstm_jax.cells import LSTM, Stack
from nlstm_jax.errors import DataError
from nlstm_jax.unroll import unroll


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def drawn(features, width, generator, peepholes=False, projection=None, place=""):
    shapes = {"kernel": (features + (projection or width), 4 * width), "bias": (4 * width,)}
    if peepholes:
        shapes |= {f"w_{gate}_diag": (width,) for gate in "ifo"}
    if projection:
        shapes["projection/kernel"] = (width, projection)
    return {place + name: 0.6 * generator.standard_normal(shape) for name, shape in shapes.items()}


def lstm_cell(tensors, xs, forget_bias=1.0, place=""):
    """Run `LSTMCell.call` by steps: i, j, f, o from one product on [x, h], added forget bias, diagonal peepholes."""
    own = {name.removeprefix(place): value for name, value in tensors.items() if name.startswith(place)}
    width = len(own["bias"]) // 4
    projection = own.get("projection/kernel")
    c, h = (
        np.zeros((xs.shape[1], width)),
        np.zeros((xs.shape[1], width if projection is None else projection.shape[1])),
    )
    w_i, w_f, w_o = (own.get(f"w_{gate}_diag", 0.0) for gate in "ifo")
    ys = []
    for x in xs:
        i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ own["kernel"] + own["bias"], 4, axis=1)
        c = sigmoid(f + forget_bias + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(j)
        h = sigmoid(o + w_o * c) * np.tanh(c)
        if projection is not None:
            h = h @ projection
        ys.append(h)
    return np.stack(ys), c, h


@pytest.mark.parametrize("forget_bias", [1.0, 0.0, 2.5])
@pytest.mark.parametrize("options", [{}, {"peepholes": True}, {"peepholes": True, "projection": 2}])
def test_a_cell_is_tensorflows(options, forget_bias) -> None:
    generator = np.random.default_rng(0)
    tensors, xs = drawn(3, 4, generator, **options), generator.standard_normal((6, 2, 3))
    with jax.enable_x64(True):
        cell, params = from_tensorflow1(tensors, forget_bias=forget_bias)
        carry, ys = unroll(cell, params, jnp.asarray(xs))
        expected, c, h = lstm_cell(tensors, xs, forget_bias)
        np.testing.assert_allclose(ys, expected, 1e-12, 1e-12)
        np.testing.assert_allclose(carry.c, c, 1e-12, 1e-12)
        np.testing.assert_allclose(carry.h, h, 1e-12, 1e-12)


def test_a_stack_of_4_and_5_and_equal_prefixes() -> None:
    generator = np.random.default_rng(1)
    places = [f"rnn/multi_rnn_cell/cell_{number}/basic_lstm_cell/" for number in (0, 1)]
    tensors = drawn(6, 4, generator, place=places[0]) | drawn(4, 5, generator, place=places[1])
    xs = generator.standard_normal((2, 3, 6))
    xs[1, 0] = xs[0, 0]
    with jax.enable_x64(True):
        cell, params = from_tensorflow1(dict(reversed(tensors.items())))
        assert cell == Stack((LSTM(4), LSTM(5)))
        _, ys = unroll(cell, params, jnp.asarray(xs).swapaxes(0, 1))
    ys = np.asarray(ys).swapaxes(0, 1)
    assert ys.shape == (2, 3, 5)
    np.testing.assert_array_equal(ys[0, 0], ys[1, 0])
    assert not np.allclose(ys[0, 1], ys[1, 1])
    below = lstm_cell(tensors, xs.swapaxes(0, 1), place=places[0])[0]
    expected = lstm_cell(tensors, below, place=places[1])[0]
    np.testing.assert_allclose(ys.swapaxes(0, 1), expected, 1e-12, 1e-12)


def test_layers_come_in_the_order_of_their_numbers() -> None:
    generator = np.random.default_rng(2)
    tensors = {}
    for number in np.random.default_rng(3).permutation(12):
        tensors |= drawn(2 + number, 3 + number, generator, place=f"cell_{number}/lstm_cell/")
    cell, _ = from_tensorflow1(tensors)
    assert [layer.features for layer in cell.cells] == list(range(3, 15))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lstm/bias": None}, "bias: missing among lstm/kernel"),
        ({"lstm/kernel": None}, "lstm/kernel: missing among lstm/bias"),
        ({"lstm/kernel": np.ones((7, 15))}, r"lstm/kernel: the shape \[any, 16\] expected, found \[7, 15\]"),
        ({"lstm/kernel": np.ones((4, 16))}, "lstm/kernel: rows for an input and for h expected"),
        ({"lstm/w_i_diag": np.ones(4)}, "lstm/w_f_diag: missing among"),
        ({"steps": np.ones(())}, "no place for steps"),
        ({"other/bias": np.ones(16), "other/kernel": np.ones((7, 16))}, "lstm/: one cell, or layers named cell_0"),
        (
            {"basic_rnn_cell/bias": np.ones(4)},
            "basic_rnn_cell/: a BasicLSTMCell or LSTMCell expected, found a BasicRNN",
        ),
        ({"rnn/gru_cell_1/bias": np.ones(4)}, "rnn/gru_cell_1/: .* found a GRUCell"),
    ],
)
def test_a_wrong_tensor_is_named(changes, message) -> None:
    tensors = {"lstm/kernel": np.ones((7, 16)), "lstm/bias": np.ones(16)} | changes
    with pytest.raises(DataError, match=message):
        from_tensorflow1({name: value for name, value in tensors.items() if value is not None})


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda z: np.maximum(z, 0)), ("identity", lambda z: z)])
@pytest.mark.parametrize("projection", [None, 2, 6])
def test_a_projection_and_another_activation_are_tensorflows(projection, activation, function, monkeypatch) -> None:
    generator = np.random.default_rng(4)
    tensors, xs = drawn(3, 4, generator, projection=projection), generator.standard_normal((6, 2, 3))
    with jax.enable_x64(True):
        cell, params = from_tensorflow1(tensors, activation=activation)
        _, ys = unroll(cell, params, jnp.asarray(xs))
    with monkeypatch.context() as patched:
        patched.setattr(np, "tanh", function)
        expected = lstm_cell(tensors, xs)[0]
    np.testing.assert_allclose(ys, expected, 1e-12, 1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell_1/kernel": np.ones((9, 20))}, "m/cell_1/kernel"),
        ({"cell_1/projection/kernel": None}, "m/cell_1/kernel"),
        ({"cell_1/projection/kernel": np.ones((3, 2))}, r"m/cell_1/projection/kernel: .*\[5, any\].*\[3, 2\]"),
        ({"cell_0/w_i_diag": None}, r"m/cell_0/w_\w_diag"),
        ({"cell_0/w_o_diag": np.ones(5)}, r"m/cell_0/w_o_diag: .*\[4\].*\[5\]"),
        ({"cell_0/bias": np.ones(15)}, r"m/cell_0/(kernel|bias): "),
        ({"cell_1/kernel/mask": np.ones((6, 20))}, "no place for m/cell_1/kernel/mask"),
    ],
)
def test_a_wrong_tensor_of_a_stack_is_named_in_full(changes, message) -> None:
    generator = np.random.default_rng(5)
    tensors = drawn(3, 4, generator, peepholes=True, place="m/cell_0/")
    tensors |= drawn(4, 5, generator, projection=2, place="m/cell_1/")
    tensors |= {f"m/{name}": value for name, value in changes.items()}
    with pytest.raises(DataError, match=message):
        from_tensorflow1({name: value for name, value in tensors.items() if value is not None}, "m/")


def test_the_variables_of_an_optimizer_are_passed_over() -> None:
    tensors = drawn(3, 4, np.random.default_rng(6), place="rnn/lstm_cell/")
    slots = {f"{name}/{slot}": value for name, value in tensors.items() for slot in ("Adam", "Adam_1", "Momentum")}
    others = {"beta1_power": np.ones(()), "beta2_power": np.ones(()), "global_step": np.ones((), np.int64)}
    cell, params = from_tensorflow1(tensors | slots | others)
    assert cell == LSTM(4)
    expected = from_tensorflow1({f"{name}:0": value for name, value in tensors.items()})[1]
    for leaf, other in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, other)


@pytest.mark.parametrize("layers", [1, 2])
def test_two_directions_are_a_bidirectional_layer(layers) -> None:
    """Input width and units are equal, so that the shapes alone would also fit a stack."""
    generator = np.random.default_rng(7)
    places = ["bidirectional_rnn/"]
    if layers == 2:
        places = [f"stack_bidirectional_rnn/cell_{number}/bidirectional_rnn/" for number in range(2)]
    tensors = {}
    in_features = 4
    for place in places:
        for direction in ("bw", "fw"):
            tensors |= drawn(in_features, 4, generator, place=f"{place}{direction}/lstm_cell/")
        in_features = 8
    xs = generator.standard_normal((6, 2, 4))
    with jax.enable_x64(True):
        layer, params = from_tensorflow1(tensors)
        _, ys = unroll(layer, params, jnp.asarray(xs))
    expected = xs
    for place in places:
        forward, _, _ = lstm_cell(tensors, expected, place=f"{place}fw/lstm_cell/")
        backward, _, _ = lstm_cell(tensors, expected[::-1], place=f"{place}bw/lstm_cell/")
        expected = np.concatenate([forward, backward[::-1]], axis=-1)
    np.testing.assert_allclose(ys, expected, 1e-12, 1e-12)


def test_one_direction_alone_is_refused() -> None:
    tensors = drawn(3, 4, np.random.default_rng(8), place="bidirectional_rnn/fw/lstm_cell/")
    with pytest.raises(DataError, match="bidirectional_rnn/bw/: a cell of this direction expected, found none"):
        from_tensorflow1(tensors)


def nested_tensors(depth, version, use_bias, place="rnn/nlstm_cell/"):
    """Return random variables of an `NLSTMCell(4, depth)` on 3 inputs."""
    generator = np.random.default_rng(depth)
    shapes = {"kernel_0": (7, 16)}
    if version == "new":
        shapes = {"input_gate_kernel": (3, 16), "hidden_gate_kernel": (4, 16)}
    shapes |= {f"kernel_{level}": (8, 16) for level in range(1, depth)}
    if use_bias:
        shapes |= {f"bias_{level}": (16,) for level in range(depth)}
    return {place + name: 0.6 * generator.standard_normal(shape) for name, shape in shapes.items()}


def nested_cell(tensors, depth, xs, forget_bias, candidate, place="rnn/nlstm_cell/"):
    """Run `NLSTMCell` by steps: the cell state of a level is the output of the level inside it."""
    own = {name.removeprefix(place): value for name, value in tensors.items()}
    first = own.get("kernel_0")
    if first is None:
        first = np.concatenate([own["input_gate_kernel"], own["hidden_gate_kernel"]])
    states = list(np.zeros((depth + 1, xs.shape[1], 4)))

    def output(level, x, h):
        kernel = first if level == 0 else own[f"kernel_{level}"]
        z = np.concatenate([x, h], axis=1) @ kernel
        added = 0.0
        if "bias_0" in own:
            z = z + own[f"bias_{level}"]
            added = forget_bias
        i, j, f, o = np.split(z, 4, axis=1)
        kept = states[level + 1] * sigmoid(f + added)
        entering = sigmoid(i) * (candidate(j) if level == 0 else np.tanh(j))
        memory = kept + entering if level == depth - 1 else output(level + 1, entering, kept)
        states[level + 1] = memory
        return np.tanh(memory) * sigmoid(o)

    ys = []
    for x in xs:
        states[0] = output(0, x, states[0])
        ys.append(states[0])
    return np.stack(ys)


@pytest.mark.parametrize(
    ("version", "options", "candidate"),
    [("new", {}, lambda j: j), ("new", {"cell_activation": "tanh"}, np.tanh), ("first", {}, np.tanh)],
    ids=["new", "cell_activation", "first version"],
)
@pytest.mark.parametrize(("depth", "use_bias"), [(1, True), (2, False), (3, True)])
def test_a_nested_cell_is_that_of_nlstm(depth, use_bias, version, options, candidate) -> None:
    tensors = nested_tensors(depth, version, use_bias)
    slots = {f"{name}/Adam": value for name, value in tensors.items()}
    xs = np.random.default_rng(1).standard_normal((5, 2, 3))
    with jax.enable_x64(True):
        cell, params = from_tensorflow1(tensors | slots, forget_bias=0.7, **options)
        _, ys = unroll(cell, params, jnp.asarray(xs))
    expected = nested_cell(tensors, depth, xs, 0.7, candidate)
    np.testing.assert_allclose(ys, expected, 1e-12, 1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peep_kernel_0": np.ones((4, 12))}, "peep_kernel_0: a cell without peepholes expected"),
        ({"input_gate_kernel": None}, "input_gate_kernel: missing"),
        ({"kernel_1": np.ones((7, 16))}, r"kernel_1: the shape \[8, 16\] expected, found \[7, 16\]"),
        ({"bias_1": None}, "bias_1: missing"),
        ({"hidden_gate_kernel": np.ones((4, 12))}, r"hidden_gate_kernel: the shape \[4, 16\] expected"),
        ({"gamma": np.ones(4)}, "no place for n/gamma"),
    ],
)
def test_a_wrong_tensor_of_a_nested_cell_is_named(changes, message) -> None:
    tensors = nested_tensors(2, "new", use_bias=True, place="n/")
    tensors |= {f"n/{name}": value for name, value in changes.items()}
    with pytest.raises(DataError, match=message):
        from_tensorflow1({name: value for name, value in tensors.items() if value is not None})


def test_an_option_of_a_nested_cell_is_refused_for_another() -> None:
    tensors = drawn(3, 4, np.random.default_rng(0))
    with pytest.raises(DataError, match="cell_activation: none expected"):
        from_tensorflow1(tensors, cell_activation="tanh")
