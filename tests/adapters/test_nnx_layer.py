"""The layer `Recurrent` of this library inside a Flax model: it is `unroll` on batches of sequences."""

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
    D,
    T,
    assert_close,
    example,
    transposed,
    with_values,
)

from nlstm_jax.adapters.nnx import Recurrent, RNNCell

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
