"""Tests of this library's cells inside the recurrent layers of Flax NNX, and of its layer inside a Flax model."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references
import zoo
from flax import nnx
from flax_contract import (
    CELLS,
    KEY,
    LENGTHS,
    NOISY,
    B,
    D,
    T,
    assert_close,
    backwards,
    by_us,
    every_cell,
    example,
    transposed,
)

from nlstm_jax.adapters.nnx import Recurrent, RNNCell
from nlstm_jax.unroll import unroll

GRADIENTS = ["gru", "nested_2_multiply", "stack", "zoneout", "transition_gru", "output_lstm"]


def by_path(tree):
    """Return the leaves of a cell's tuples by their paths, e.g. ("inner", "w_h")."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(step.name if hasattr(step, "name") else step.idx for step in path): leaf for path, leaf in leaves}


def with_values(module, params):
    """Set the parameters of a module to the values, and return the module."""
    variables = jax.tree.leaves(module.params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    for variable, value in zip(variables, jax.tree.leaves(params), strict=True):
        variable.set_value(value)
    return module


def rnn_cell(cell, params):
    return with_values(RNNCell(cell, D, deterministic=True, rngs=nnx.Rngs(0)), params)


@functools.partial(references.compiled, static_argnames="cell")
def by_flax(cell, params, xs, start, lengths):
    """Return the carries and the time-major outputs of `nnx.RNN`, by the name of the case."""
    made = rnn_cell(cell, params)
    batch_major = transposed(xs)

    def run(inputs, **options):
        carry, ys = nnx.RNN(made, return_carry=True)(inputs, **options)
        return carry, transposed(ys)

    both = nnx.Bidirectional(nnx.RNN(made), nnx.RNN(rnn_cell(cell, params)), return_carry=True)
    (there, back), both_ys = both(batch_major, initial_carry=(start, start), seq_lengths=lengths)
    return {
        "plain": run(batch_major),
        "lengths": run(batch_major, initial_carry=start, seq_lengths=lengths),
        "reverse": nnx.RNN(made, return_carry=True, unroll=2)(xs, time_major=True, initial_carry=start, reverse=True),
        "both": ((there, back), transposed(both_ys)),
    }


@every_cell
def test_flaxs_layers_run_every_cell_as_unroll_does(name):
    cell = CELLS[name]
    params, xs, start = example(cell)
    found, expected = by_flax(cell, params, xs, start, LENGTHS), by_us(cell, params, xs, start, LENGTHS)
    valid = np.arange(T)[:, None] < LENGTHS
    assert_close(found["plain"], expected["plain"])
    assert_close(found["lengths"], expected["lengths"], valid)
    carry, ys = expected["reverse"]
    assert_close(found["reverse"], (carry, backwards(ys)))
    (there, forward), (back, backward) = expected["lengths"], expected["keep_order"]
    assert_close(found["both"], ((there, back), np.concatenate([forward, backward], -1)), valid)


def test_both_layers_run_a_cell_of_the_user_with_three_methods():
    cell = zoo.MinGRU(3)
    xs = jax.random.normal(KEY, (T, B, D))
    flax_layer = nnx.RNN(RNNCell(cell, D, rngs=nnx.Rngs(0)), time_major=True, return_carry=True)
    layer = Recurrent(cell, D, time_major=True, rngs=nnx.Rngs(0))
    expected = unroll(cell, layer.values, xs)
    assert_close(layer(xs), expected)
    assert_close(flax_layer(xs), expected)


def test_where_flax_reverses_outputs_with_lengths_the_padding_stays_behind():
    cell = CELLS["nested_2_multiply"]
    params, xs, start = example(cell)
    carry, ys = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True, reverse=True)(
        xs, initial_carry=start, seq_lengths=jnp.asarray(LENGTHS)
    )
    last, expected = references.run(cell, params, xs, start, lengths=LENGTHS, reverse=True)
    assert_close((carry, ys), (last, backwards(expected, LENGTHS)), np.arange(T)[:, None] < LENGTHS)


def test_past_the_end_flax_goes_on_where_unroll_puts_out_zeros_and_of_no_steps_it_returns_the_last_carry():
    cell, lengths = CELLS["lstm"], np.array([5, 3, 0])
    params, xs, start = example(cell)
    carry, ys = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True)(
        xs, initial_carry=start, seq_lengths=jnp.asarray(lengths)
    )
    last, zeroed = references.run(cell, params, xs, start, lengths=lengths)
    whole, gone_on = references.run(cell, params, xs, start)
    padding = np.arange(T)[:, None] >= lengths
    assert not zeroed[padding].any()
    np.testing.assert_allclose(ys, gone_on, 1e-5, 1e-5)
    for found, ours, unmasked, given in zip(*map(jax.tree.leaves, (carry, last, whole, start)), strict=True):
        np.testing.assert_allclose(found[:2], ours[:2], 1e-5, 1e-5)
        np.testing.assert_allclose(found[2], unmasked[2], 1e-5, 1e-5)
        np.testing.assert_array_equal(ours[2], given[2])


@pytest.mark.parametrize("name", zoo.marked(GRADIENTS, ["nested_2_multiply", "zoneout"]))
def test_gradients_through_flaxs_layer_are_unrolls(name):
    cell = CELLS[name]
    params, xs, start = example(cell)
    weights = references.normal_like(jax.eval_shape(lambda: unroll(cell, params, xs, start)), np.random.default_rng(1))

    @references.compiled
    def flaxs(params, xs, start):
        def loss(module, xs, start):
            layer = nnx.RNN(module, time_major=True, return_carry=True)
            return references.weigh(weights, layer(xs, initial_carry=start))

        return nnx.grad(loss, argnums=(0, 1, 2))(rnn_cell(cell, params), xs, start)

    by_params, by_xs, by_start = flaxs(params, xs, start)
    _, (expected, expected_xs, expected_start) = references.value_and_gradients(cell, params, xs, start, weights)
    found = {path: variable[...] for path, variable in nnx.to_flat_state(by_params)}
    by_name = {("params", *path): value for path, value in by_path(expected).items()}
    assert found.keys() == by_name.keys()
    for path, value in by_name.items():
        np.testing.assert_allclose(found[path], value, 1e-5, 1e-5, err_msg=str(path))
    references.assert_trees_close((by_xs, by_start), (expected_xs, expected_start), 1e-5)


@every_cell
def test_parameters_are_params_under_the_paths_of_the_cells_tuples(name):
    cell = CELLS[name]
    layer = nnx.RNN(RNNCell(cell, D, deterministic=True, rngs=nnx.Rngs(params=0)))
    flat = dict(nnx.to_flat_state(nnx.state(layer, nnx.Param)))
    expected = {("cell", "params", *path): value for path, value in by_path(cell.init(made_of(0), D)).items()}
    assert flat.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(flat[path][...], value)
    others = dict(nnx.to_flat_state(nnx.state(layer))).keys() - flat.keys()
    assert all(path[0] == "rngs" for path in others)


def made_of(seed):
    """Return the key that a module draws its parameters from."""
    return nnx.Rngs(params=seed).params()


@pytest.mark.parametrize("name", zoo.marked(CELLS, ["lstm", "stack", "dropped", "zoneout", "nested_around_dropped"]))
def test_a_cell_that_draws_noise_must_be_asked_for_as_deterministic(name):
    if name in NOISY:
        with pytest.raises(ValueError, match=r"(?s)(?=.*without noise, or deterministic=True)(?=.*Recurrent)"):
            RNNCell(CELLS[name], D, rngs=nnx.Rngs(0))
    else:
        assert RNNCell(CELLS[name], D, rngs=nnx.Rngs(0)).cell == CELLS[name]


def test_any_leading_axes_are_a_batch_and_features_are_one_axis():
    cell = CELLS["nested_2_multiply"]
    params, xs, _ = example(cell)
    made = rnn_cell(cell, params)
    assert made.num_feature_axes == 1
    _, expected = references.run(cell, params, xs)
    layer = nnx.RNN(made)
    np.testing.assert_allclose(layer(xs[:, 0]), expected[:, 0], 1e-5, 1e-5)
    twice = jnp.stack([transposed(xs), transposed(xs)])
    np.testing.assert_allclose(layer(twice), jnp.stack([transposed(expected)] * 2), 1e-5, 1e-5)


@pytest.mark.parametrize("kind", ["streams", "default", "stream"])
def test_an_initial_carry_is_drawn_where_an_initializer_is_given(kind):
    streams = nnx.Rngs(5) if kind == "default" else nnx.Rngs(carry=5)
    streams = streams.carry if kind == "stream" else streams
    made = RNNCell(CELLS["nested_2_multiply"], D, rngs=nnx.Rngs(0))
    expected = CELLS["nested_2_multiply"].initial_carry((4, B))
    references.assert_trees_close(made.initialize_carry((4, B, D), streams), expected, 0.0)
    drawn = made.initialize_carry((4, B, D), streams, nnx.initializers.normal(1.0))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), drawn) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), expected
    )
    vectors = jax.tree.leaves(drawn)
    assert all(np.asarray(vector).all() for vector in vectors)
    assert len({np.asarray(vector).tobytes() for vector in vectors}) == 3
    ones = made.initialize_carry((B, D), streams, nnx.initializers.ones)
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(ones))


def test_flaxs_layer_starts_from_the_initial_carry_of_the_cell():
    class Ones(RNNCell):
        def initialize_carry(self, input_shape, rngs=None, carry_init=None):
            return super().initialize_carry(input_shape, rngs, nnx.initializers.ones)

    cell = CELLS["lstm"]
    params, xs, start = example(cell)
    made = Ones(cell, D, rngs=nnx.Rngs(0))
    made.params = rnn_cell(cell, params).params
    found = nnx.RNN(made, time_major=True, return_carry=True, rngs=nnx.Rngs(0))(xs)
    assert_close(found, references.run(cell, params, xs, jax.tree.map(jnp.ones_like, start)))


def test_flaxs_layer_runs_under_nnx_jit():
    cell = CELLS["nested_gru"]
    params, xs, _ = example(cell)
    layer = nnx.RNN(rnn_cell(cell, params), time_major=True, return_carry=True)
    run = nnx.jit(lambda layer, xs: layer(xs))
    assert_close(run(layer, xs), references.run(cell, params, xs))
    other, *_ = example(cell, seed=1)
    layer.cell = rnn_cell(cell, other)
    assert_close(run(layer, xs), references.run(cell, other, xs))


LAYERS = CELLS | zoo.cells("bidirectional", without="option")
MASK = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 1, 1]], bool)
RESETS = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], bool)
OVER_TIME = {
    "lengths": {"lengths": LENGTHS},
    "everything": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "return_carries": True},
    "reverse": {"lengths": LENGTHS, "mask": MASK, "resets": RESETS, "return_carries": True, "reverse": True},
}


def recurrent(cell, params, time_major=False, **options):
    return with_values(Recurrent(cell, D, time_major=time_major, rngs=nnx.Rngs(0), **options), params)


@functools.partial(references.compiled, static_argnames=("cell", "time_major", "reverse", "go_backwards", "more"))
def by_layer(cell, params, xs, start, marks, time_major, reverse=False, go_backwards=False, more=(), key=None):
    layer = recurrent(cell, params, time_major, deterministic=True)
    return layer(xs, start, **marks, reverse=reverse, go_backwards=go_backwards, key=key, **dict.fromkeys(more, True))


LAYERS_AND_MARKS = list(
    itertools.product(
        ("nested_2_multiply", "zoneout", "output_lstm", "stack_of_bidirectional"),
        (("lengths", False), ("everything", False), ("everything", True), ("reverse", False)),
    )
)
MARKS_BY_DEFAULT = (
    ("nested_2_multiply", ("lengths", False)),
    ("zoneout", ("everything", True)),
    ("output_lstm", ("reverse", False)),
    ("stack_of_bidirectional", ("everything", False)),
)


@pytest.mark.parametrize(
    ("name", "over_time", "time_major"),
    [
        pytest.param(name, *marks, marks=() if (name, marks) in MARKS_BY_DEFAULT else pytest.mark.slow)
        for name, marks in LAYERS_AND_MARKS
    ],
)
def test_the_layer_is_unroll_on_batches_of_sequences(name, over_time, time_major):
    cell, over_time = LAYERS[name], OVER_TIME[over_time]
    params, xs, start = example(cell)
    expected = references.run(cell, params, xs, start, **over_time, key=KEY)
    swap = (lambda tree: tree) if time_major else transposed
    marks = {key: value for key, value in over_time.items() if key in ("lengths", "mask", "resets")}
    marks = {key: value if key == "lengths" else swap(value) for key, value in marks.items()}
    more = ("return_carries",) if "return_carries" in over_time else ()
    carry, ys, *carries = by_layer(
        cell, params, swap(xs), start, marks, time_major, over_time.get("reverse", False), more=more, key=KEY
    )
    references.assert_trees_close((carry, swap(ys)), expected[:2], 1e-5)
    assert len(carries) == len(more)
    for every in carries:
        references.assert_trees_close(swap(every), expected[2], 1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_of_a_run_backwards_stand_as_they_are_computed(reverse):
    cell = CELLS["nested_2_multiply"]
    params, xs, start = example(cell)
    carry, ys = by_layer(cell, params, transposed(xs), start, {}, False, reverse, go_backwards=True)
    last, expected = references.run(cell, params, xs, start, reverse=True)
    assert_close((carry, transposed(ys)), (last, expected[::-1]))


def test_without_a_carry_the_layer_starts_from_the_initial_one():
    cell = CELLS["gru"]
    params, xs, _ = example(cell)
    assert_close(recurrent(cell, params, True)(xs), references.run(cell, params, xs))


@pytest.mark.parametrize("name", zoo.marked(["dropped", "stack_of_bidirectional"], ["dropped"]))
def test_noise_is_new_at_every_call_and_the_models_mode_turns_it_off_and_on(name):
    cell = LAYERS[name]
    params, xs, _ = example(cell)
    model = nnx.Sequential(recurrent(cell, params, True))
    run = nnx.jit(lambda model, xs, key=None: model.layers[0](xs, key=key)[1])
    drawn = [run(model, xs) for _ in range(4)]
    model.eval()
    silent = [run(model, xs) for _ in range(2)]
    keyed = [run(model, xs, KEY) for _ in range(2)]
    model.train()
    drawn += [run(model, xs) for _ in range(2)]
    keyed += [run(model, xs, KEY)]
    assert len({np.asarray(ys).tobytes() for ys in drawn}) >= 5
    for ys in silent:
        np.testing.assert_allclose(ys, references.run(cell, params, xs)[1], 1e-5, 1e-5)
    for ys in keyed:
        np.testing.assert_allclose(ys, references.run(cell, params, xs, key=KEY)[1], 1e-5, 1e-5)
    assert not np.allclose(keyed[0], silent[0])


@pytest.mark.parametrize("name", ["dropped", "lstm"])
def test_a_layer_made_from_one_key_draws_noise_from_a_given_key_alone(name):
    cell, (_, xs, _) = CELLS[name], example(CELLS[name])
    layer = Recurrent(cell, D, time_major=True, rngs=KEY)
    references.assert_trees_close(layer.values, cell.init(KEY, D), 0.0)
    for key in (None, KEY):
        assert_close(layer(xs, key=key), references.run(cell, layer.values, xs, key=key))
    assert not nnx.to_flat_state(nnx.state(layer, nnx.RngState))


def test_layers_made_from_the_same_streams_draw_parameters_and_noise_of_their_own():
    rngs = nnx.Rngs(params=0, dropout=1)
    one, two = (Recurrent(CELLS["dropped"], D, rngs=rngs) for _ in range(2))
    assert not np.allclose(one.values.w_x, two.values.w_x)
    assert not np.array_equal(jax.random.key_data(one.rngs()), jax.random.key_data(two.rngs()))


def test_a_layer_without_noise_wants_no_stream_for_it():
    layer = Recurrent(CELLS["nested_2_multiply"], D, rngs=nnx.Rngs(params=0))
    assert layer.rngs is None
    paths = {"/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(layer))}
    assert paths == {f"params/{level}{leaf}" for level in ("", "inner/") for leaf in ("w_x", "w_h", "b")}
    assert all(isinstance(variable, nnx.Param) for _, variable in nnx.to_flat_state(nnx.state(layer)))


@pytest.mark.parametrize("made_with", [nnx.Rngs(params=0), nnx.Rngs(0)])
def test_a_deterministic_layer_wants_no_stream_until_it_is_to_draw_noise(made_with):
    cell = CELLS["dropped"]
    layer = Recurrent(cell, D, deterministic=True, rngs=made_with)
    xs = example(cell)[1].swapaxes(0, 1)
    silent = layer(xs)[1]
    layer.set_attributes(deterministic=False)
    if "default" in made_with:
        assert not np.allclose(layer(xs)[1], silent)
        return
    with pytest.raises(ValueError, match=r"^Recurrent: a key, deterministic=True, or a stream 'dropout' .* expected"):
        layer(xs)
    assert not np.allclose(layer(xs, key=KEY)[1], silent)


@pytest.mark.parametrize("name", ["mask", "resets"])
def test_marks_of_a_batch_major_layer_are_told_in_its_own_order(name):
    layer, xs = Recurrent(CELLS["lstm"], D, rngs=KEY), jnp.zeros((2, T, D))
    with pytest.raises(ValueError, match=rf"^Recurrent: {name}: the shape \(2, {T}\) expected, found \({T}, 2\)$"):
        inspect.unwrap(Recurrent.__call__)(layer, xs, **{name: jnp.ones((T, 2), bool)})
    with pytest.raises(ValueError, match=rf"^Recurrent: xs: \[B, T, D\] expected, found the shape \({T}, {D}\)$"):
        inspect.unwrap(Recurrent.__call__)(layer, xs[0])


def test_parameters_are_put_in_place_if_they_fit():
    cell = CELLS["nested_2_multiply"]
    layer, params = Recurrent(cell, D, rngs=KEY), cell.init(jax.random.key(7), D)
    layer.load(params)
    references.assert_trees_close(layer.values, params, 0.0)
    with pytest.raises(ValueError, match=r"^the shapes .* expected, found "):
        layer.load(cell.init(KEY, D + 1))
    references.assert_trees_close(layer.values, params, 0.0)


class Sum(nnx.Module):
    """A model that predicts the running sum of a sequence's first feature, with a recurrent and a dense layer."""

    def __init__(self, cell, rngs):
        self.recurrent = Recurrent(cell, D, rngs=rngs)
        self.dense = nnx.Linear(cell.out_features, 1, rngs=rngs)

    def __call__(self, xs):
        return self.dense(self.recurrent(xs)[1])[..., 0]


@pytest.mark.slow
def test_a_model_with_the_layer_learns_under_noise():
    model = Sum(LAYERS["stack_of_bidirectional"], nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    xs = jax.random.normal(KEY, (16, T, D))
    targets = jnp.cumsum(xs[..., 0], axis=1)

    def loss(model):
        return jnp.square(model(xs) - targets).mean()

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(loss)(model))

    def measured():
        model.eval()
        value = float(loss(model))
        model.train()
        return value

    before, values = measured(), model.recurrent.values
    for _ in range(30):
        step(model, optimizer)
    assert measured() < 0.9 * before
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), values, model.recurrent.values)
    assert all(jax.tree.leaves(moved))


def test_flaxs_layer_learns_as_well():
    model = nnx.Sequential(
        nnx.RNN(RNNCell(CELLS["nested_2_multiply"], D, rngs=nnx.Rngs(0))), nnx.Linear(zoo.H, 1, rngs=nnx.Rngs(1))
    )
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    xs = jax.random.normal(KEY, (16, T, D))

    def loss(model):
        return jnp.square(model(xs)[..., 0] - jnp.cumsum(xs[..., 0], axis=1)).mean()

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    values = [float(step(model, optimizer)) for _ in range(30)]
    assert values[-1] < 0.7 * values[0]
