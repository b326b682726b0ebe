"""Noise: its rates and its expectation over many draws, where it enters the equations, and where it does not."""

import itertools
import subprocess
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepOutput,
    DeepTransition,
    Elman,
    ElmanCarry,
    ElmanParams,
    GRUCarry,
    LSTMCarry,
    MaskedParams,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    ZoneoutNoise,
    is_stochastic,
    nested_lstm,
    with_regularizers,
)
from nlstm_jax.unroll import unroll

KEY = jax.random.key(3)


def assert_rate(kept, rate):
    """Assert that a share of 1 − rate is kept, within four standard errors."""
    kept = np.asarray(kept)
    assert kept.size >= 100_000
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)


def assert_mask(mask, rate):
    """Assert that the mask is 0 or 1/(1 − rate), with the given rate and the expectation 1."""
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)], 1e-6)
    assert_rate(np.asarray(mask) > 0, rate)
    assert abs(np.asarray(mask, np.float64).mean() - 1) < 4 * np.sqrt(rate / (1 - rate) / mask.size)


def assert_independent(masks):
    """Assert that any two masks keep the same unit as often as independent ones, within four standard errors."""
    masks = [np.asarray(mask).ravel() > 0 for mask in masks]
    for number, one in enumerate(masks):
        for other in masks[:number]:
            spread = np.sqrt(one.mean() * (1 - one.mean()) * other.mean() * (1 - other.mean()) / one.size)
            assert abs((one & other).mean() - one.mean() * other.mean()) < 4 * spread


def drawn(cell, batch, in_features, steps=3):
    """Return parameters of ones, prepared with a key, and the noise."""
    shapes = jax.eval_shape(lambda: cell.init(KEY, in_features))
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    sample_noise = references.compiled(lambda params: cell.sample_noise(params, KEY, (steps, batch, in_features)))
    return params, *sample_noise(params)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_of_a_sequence_keep_the_rate_and_the_expectation(rate):
    cell = VariationalDropout(LSTM(200), inputs=rate, recurrent=rate, weights=rate)
    params, prepared, noise = drawn(cell, 600, 250)
    assert jax.tree.leaves(noise) == []
    assert_mask(prepared.inputs, rate)
    assert_mask(prepared.recurrent, rate)
    assert prepared.inputs.shape == (600, 250)
    assert prepared.recurrent.shape == (600, 200)
    assert_mask(prepared.cell.w_h, rate)
    np.testing.assert_array_equal(prepared.cell.w_x, params.w_x)
    assert_independent([prepared.inputs[:, :200], prepared.recurrent, prepared.cell.w_h[:150].ravel()])


def test_masks_are_as_wide_as_what_they_mask():
    cell = VariationalDropout(LSTM(6, projection=2), inputs=0.5, recurrent=0.5, weights=0.5)
    params, prepared, _ = drawn(cell, 4, 5)
    assert (prepared.inputs.shape, prepared.recurrent.shape) == ((4, 5), (4, 2))
    assert prepared.cell.w_h.shape == params.w_h.shape == (2, 24)


def echo(cell, w_x, w_h, xs, start=None):
    """Return the outputs of a linear Elman cell with the given matrices, under the noise of `cell`."""
    return np.asarray(references.run(cell, ElmanParams(w_x, w_h, None), xs, start, key=KEY)[1])


IDENTITY, NOTHING = jnp.eye(8), jnp.zeros((8, 8))
ECHO = Elman(8, activation="identity", use_bias=False)


def test_what_dropout_drops_is_dropped_from_the_first_step_to_the_last():
    xs, start = jnp.ones((6, 20, 8)), ElmanCarry(jnp.ones((20, 8)))
    cell = VariationalDropout(ECHO, inputs=0.5, recurrent=0.5)
    seen = echo(cell, IDENTITY, NOTHING, xs, start)
    assert set(seen.ravel()) == {0, 2}
    remembered = echo(cell, NOTHING, IDENTITY, xs, start)
    assert set(remembered[0].ravel()) == {0, 2}
    for t in range(6):
        np.testing.assert_array_equal(seen[t], seen[0])
        np.testing.assert_array_equal(remembered[t], remembered[0] ** (t + 1))
    for masks in (seen[0], remembered[0]):
        assert len(np.unique(masks, axis=0)) > 15


def test_dropped_weights_are_the_same_at_every_step_and_for_every_example():
    xs, start = jnp.zeros((6, 20, 8)), ElmanCarry(jnp.ones((20, 8)))
    cell, params = VariationalDropout(ECHO, weights=0.5), ElmanParams(NOTHING, jnp.ones((8, 8)) / 8, None)
    ys = echo(cell, params.w_x, params.w_h, xs, start)
    assert len(np.unique(ys[0])) > 1
    np.testing.assert_array_equal(ys, np.broadcast_to(ys[:, :1], ys.shape))
    prepared, _ = cell.sample_noise(params, KEY, xs.shape)
    assert set(np.asarray(prepared.cell.w_h).ravel()) == {0, 1 / 4}
    for t in range(6):
        expected = np.ones(8) @ np.linalg.matrix_power(np.asarray(prepared.cell.w_h), t + 1)
        np.testing.assert_allclose(ys[t, 0], expected, 1e-5)


def test_zoneout_keeps_other_units_at_every_step():
    xs = jnp.broadcast_to(jnp.arange(1.0, 7)[:, None, None], (6, 20, 8))
    ys = echo(Zoneout(ECHO, 0.5), IDENTITY, NOTHING, xs)
    before = np.concatenate([np.zeros_like(ys[:1]), ys[:-1]])
    kept = ys == before
    np.testing.assert_array_equal(ys, np.where(kept, before, xs))
    assert len(np.unique(kept.reshape(120, 8), axis=0)) > 60
    assert all(0.3 < share < 0.7 for share in kept.mean((1, 2)))


def test_zoneout_is_drawn_anew_at_every_step_with_the_rate_of_each_vector():
    cell = Zoneout(nested_lstm(50, 2), NestedCarry(h=0.05, inner=LSTMCarry(c=0.5, h=0.2)))
    _, _, noise = drawn(cell, 200, 3, steps=20)
    for kept, rate in zip(noise.kept, (0.05, 0.5, 0.2), strict=True):
        assert kept.shape == (20, 200, 50)
        assert_rate(~kept, rate)
        assert_independent([kept[:-1], kept[1:]])
        assert_independent([kept[:, :-1], kept[:, 1:]])
    assert_independent(noise.kept)


def test_levels_layers_transitions_and_directions_have_noise_of_their_own():
    noisy = {"inputs": 0.5, "recurrent": 0.5}
    level = VariationalDropout(Nested(40, VariationalDropout(LSTM(40), **noisy)), **noisy)
    transition = DeepTransition((VariationalDropout(GRU(40), **noisy), VariationalDropout(GRU(40), recurrent=0.5)))
    layer = Stack((level, level, transition, Bidirectional(level, level)), dropout=0.5)
    _, prepared, noise = drawn(layer, 2500, 40, steps=1)
    single = [prepared.layers[0], prepared.layers[1], prepared.layers[3].forward, prepared.layers[3].backward]
    dropped = [own for one in single for own in (one, one.cell.inner)] + [prepared.layers[2].cells[0]]
    masks = [mask for own in dropped for mask in (own.inputs, own.recurrent)]
    masks += [prepared.layers[2].cells[1].recurrent, *(mask[0] for mask in noise.dropout)]
    assert [mask.shape for mask in masks] == [(2500, 40)] * 22
    assert_independent(masks)
    for mask in masks:
        assert_independent([mask[:-1], mask[1:]])


def test_layers_of_a_stack_have_zoneout_of_their_own():
    stack = Stack((Zoneout(LSTM(40), 0.5),) * 2)
    _, _, noise = drawn(stack, 250, 3, steps=10)
    assert_independent([kept for layer in noise.layers for kept in layer.kept])


def stepped(step, params, carry, xs):
    ys = []
    for t, x in enumerate(xs):
        carry, y = step(t, params, carry, x)
        ys.append(y)
    return carry, np.stack(ys)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before"])
def test_dropout_stands_on_the_input_and_the_recurrent_product_and_the_memory_stays_true(name):
    inner = {"lstm": LSTM(4), "gru": GRU(4), "gru_reset_before": GRU(4, reset_after=False)}[name]
    cell = VariationalDropout(inner, inputs=0.3, recurrent=0.4, weights=0.5)
    params, xs, start = references.example(cell, in_features=3, steps=5, batch=2)
    with jax.enable_x64(True):
        params, xs, start = jax.tree.map(jnp.asarray, (params, xs, start))
        found = references.run(cell, params, xs, start, key=KEY)
        prepared, _ = cell.sample_noise(params, KEY, xs.shape)
    masked = jax.tree.map(np.asarray, prepared.cell)
    m_x, m_h = np.asarray(prepared.inputs), np.asarray(prepared.recurrent)
    assert not m_x.all()
    assert not m_h.all()

    def step(t, p, carry, x):
        x, recurrent_input, h = x * m_x, carry.h * m_h, carry.h
        if name == "lstm":
            i, f, g, o = np.split(x @ p.w_x + recurrent_input @ p.w_h + p.b, 4, axis=1)
            c = references.sigmoid(f) * carry.c + references.sigmoid(i) * np.tanh(g)
            h = references.sigmoid(o) * np.tanh(c)
            return LSTMCarry(c, h), h
        (x_r, x_z, x_n), (w_r, w_z, w_n) = np.split(x @ p.w_x + p.b, 3, axis=1), np.split(p.w_h, 3, axis=1)
        r, z = references.sigmoid(x_r + recurrent_input @ w_r), references.sigmoid(x_z + recurrent_input @ w_z)
        n = np.tanh(x_n + (r * (recurrent_input @ w_n + p.b_n) if name == "gru" else (r * recurrent_input) @ w_n))
        h = (1 - z) * n + z * h
        return GRUCarry(h), h

    expected = stepped(step, masked, jax.tree.map(np.asarray, start), np.asarray(xs))
    references.assert_trees_close(found, expected, 1e-10)


def struck(prepared, b):
    """Return parameters of the bare cell for example b, with zeros in the rows of the matrices that are dropped."""
    if isinstance(prepared, MaskedParams):
        params = struck(prepared.cell, b)
        for field, mask in (("w_x", prepared.inputs), ("w_h", prepared.recurrent)):
            if mask is not None:
                params = params._replace(**{field: mask[b][:, None] * getattr(params, field)})
        return params
    if hasattr(prepared, "inner"):
        return prepared._replace(inner=struck(prepared.inner, b))
    return prepared


NESTED_GRU = references.nested(references.gru())
BARE = {
    "elman": (Elman(4), references.elman()),
    "peephole": (LSTM(4, peephole=True), references.lstm(peephole=True)),
    "projection": (LSTM(4, projection=2), references.lstm(projection=2)),
    "layer_norm": (LSTM(4, layer_norm=True), references.lstm(layer_norm=True)),
    "nested_gru": (Nested(4, GRU(4)), NESTED_GRU),
    "nested_2": (nested_lstm(4, 2), references.nested_lstm(2)),
    "nested_3_add": (nested_lstm(4, 3, "add"), references.nested_lstm(3, "add")),
}


STRUCK_BY_DEFAULT = (
    ("peephole", "forward"),
    ("layer_norm", "forward"),
    ("nested_gru", "forward"),
    ("projection", "reverse"),
    ("nested_3_add", "reverse"),
)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        pytest.param(*case, marks=() if case in STRUCK_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(BARE, ("forward", "reverse"))
    ],
)
def test_dropout_is_the_cell_with_rows_struck_from_its_matrices_on_every_level(name, direction):
    (bare, reference), reverse = BARE[name], direction == "reverse"
    cell = with_regularizers(bare, input_dropout=(0.4,), recurrent_dropout=(0.4,), weight_drop=(0.2,))
    params, xs, start = references.example(cell, in_features=3, steps=4, batch=3)
    with jax.enable_x64(True):
        on_device = jax.tree.map(jnp.asarray, (params, xs, start))
        found = references.run(cell, *on_device, key=KEY, reverse=reverse)
        prepared, _ = cell.sample_noise(on_device[0], KEY, xs.shape)
    prepared = jax.tree.map(np.asarray, prepared)
    alone = [
        references.unroll(
            reference,
            struck(prepared, b),
            xs[:, b : b + 1],
            jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], start),
            reverse=reverse,
        )
        for b in range(3)
    ]
    expected = jax.tree.map(lambda *carries: np.concatenate(carries), *(carry for carry, _, _ in alone))
    references.assert_trees_close(found, (expected, np.concatenate([ys for _, ys, _ in alone], 1)), 1e-10)


@pytest.mark.parametrize("drawn", [True, False])
def test_zoneout_is_the_papers(drawn):
    rates = LSTMCarry(c=0.4, h=0.3)
    cell = Zoneout(LSTM(4), rates)
    params, xs, start = references.example(cell, in_features=3, steps=6, batch=2)
    with jax.enable_x64(True):
        on_device = jax.tree.map(jnp.asarray, (params, xs, start))
        found = references.run(cell, *on_device, key=KEY if drawn else None)
        kept = cell.sample_noise(on_device[0], KEY, xs.shape)[1].kept
    old_c, old_h = (np.asarray(mask, float) for mask in kept)

    def step(t, p, carry, x):
        d_c, d_h = (old_c[t], old_h[t]) if drawn else (rates.c, rates.h)
        i, f, g, o = np.split(x @ p.w_x + carry.h @ p.w_h + p.b, 4, axis=1)
        c = references.sigmoid(f) * carry.c + references.sigmoid(i) * np.tanh(g)
        h = references.sigmoid(o) * np.tanh(c)
        h = d_h * carry.h + (1 - d_h) * h
        return LSTMCarry(d_c * carry.c + (1 - d_c) * c, h), h

    references.assert_trees_close(found, stepped(step, params, start, xs), 1e-10)


def zoned(reference, params, xs, start, kept):
    """Run a reference with zoneout. `kept` has a mask [T, B, F] for every vector of the carry."""
    lasts, outputs = [], []
    for b in range(xs.shape[1]):
        carry, ys = jax.tree.map(lambda leaf, b=b: leaf[b], start), []
        for t, x in enumerate(xs[:, b]):
            new, _ = reference(params, carry, x)
            now = jax.tree.map(lambda leaf, t=t, b=b: leaf[t, b], kept)
            carry = jax.tree.map(lambda d, old, new: d * old + (1 - d) * new, now, carry, new)
            ys.append(carry.h)
        lasts.append(carry)
        outputs.append(np.stack(ys))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lasts), np.stack(outputs, 1)


ZONED = {
    "elman": (Elman(4), references.elman(), ElmanCarry(h=0.4)),
    "gru": (GRU(4), references.gru(), GRUCarry(h=0.4)),
    "projection": (LSTM(4, projection=2), references.lstm(projection=2), LSTMCarry(c=0.6, h=0.3)),
    "nested_2": (nested_lstm(4, 2), references.nested_lstm(2), NestedCarry(h=0.2, inner=LSTMCarry(c=0.6, h=0.4))),
    "memory_alone": (nested_lstm(4, 2), references.nested_lstm(2), NestedCarry(0.0, LSTMCarry(c=0.6, h=0.0))),
    "nested_3": (
        nested_lstm(4, 3),
        references.nested_lstm(3),
        NestedCarry(h=0.1, inner=NestedCarry(h=0.3, inner=LSTMCarry(c=0.7, h=0.5))),
    ),
    "nested_gru": (Nested(4, GRU(4)), NESTED_GRU, NestedCarry(h=0.2, inner=GRUCarry(h=0.6))),
}


ZONED_BY_DEFAULT = (
    ("projection", "drawn"),
    ("memory_alone", "drawn"),
    ("nested_3", "drawn"),
    ("elman", "expected"),
    ("nested_2", "expected"),
    ("nested_gru", "expected"),
)


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        pytest.param(*case, marks=() if case in ZONED_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(ZONED, ("drawn", "expected"))
    ],
)
def test_zoneout_mixes_old_and_new_in_every_vector_of_the_carry_by_its_own_rate(name, noise):
    (bare, reference, rates), drawn = ZONED[name], noise == "drawn"
    cell = Zoneout(bare, rates)
    params, xs, start = references.example(cell, in_features=3, steps=5, batch=2)
    with jax.enable_x64(True):
        on_device = jax.tree.map(jnp.asarray, (params, xs, start))
        found = references.run(cell, *on_device, key=KEY if drawn else None)
        noise = cell.sample_noise(on_device[0], KEY, xs.shape)[1]
    shares, structure = jax.tree.flatten(rates)
    assert [kept is None for kept in noise.kept] == [rate == 0 for rate in shares]
    shapes = [(5, *leaf.shape) for leaf in jax.tree.leaves(start)]
    if drawn:
        shares = [0.0 if kept is None else np.asarray(kept, float) for kept in noise.kept]
    kept = structure.unflatten(map(np.broadcast_to, shares, shapes))
    references.assert_trees_close(found, zoned(reference, params, xs, start, kept), 1e-10)


def test_units_that_noise_made_by_hand_names_keep_their_value_and_h_shows_the_memory_as_it_would_be():
    cell = Zoneout(LSTM(3), 0.5)
    params, xs, start = jax.tree.map(jnp.asarray, references.example(cell, steps=1))
    kept_c, kept_h = jnp.array([[1, 0, 1], [0, 0, 1]], bool), jnp.array([[0, 1, 1], [1, 0, 0]], bool)
    z = cell.project(params, xs[0])
    new, _ = LSTM(3).step(params, start, z)
    for kept in ((kept_c, kept_h), (kept_c, None), (None, kept_h), (None, None)):
        after, y = cell.step(params, start, z, ZoneoutNoise((), kept))
        for found, mask, old, fresh in zip(after, kept, start, new, strict=True):
            np.testing.assert_array_equal(found, fresh if mask is None else np.where(mask, old, fresh))
        np.testing.assert_array_equal(y, after.h)


def test_zoneout_goes_around_dropout_and_hands_it_its_noise():
    dropped = VariationalDropout(LSTM(3), inputs=0.5, recurrent=0.5)
    cell = Zoneout(dropped, 0.5)
    params, xs, start = jax.tree.map(jnp.asarray, references.example(cell, steps=1, batch=20))
    prepared, noise = cell.sample_noise(params, KEY, xs.shape)
    assert not np.array_equal(prepared.inputs, prepared.recurrent)
    z = cell.project(prepared, xs[0])
    new, _ = dropped.step(prepared, start, z)
    kept = [mask[0] for mask in noise.kept]
    after, _ = cell.step(prepared, start, z, ZoneoutNoise((), tuple(kept)))
    expected = [np.where(mask, old, fresh) for mask, old, fresh in zip(kept, start, new, strict=True)]
    jax.tree.map(np.testing.assert_array_equal, list(after), expected)


def none_of(cell):
    return jax.tree.map(lambda leaf: 0.0, jax.eval_shape(lambda: cell.initial_carry(())))


RATE_0_BY_DEFAULT = (("lstm", True), ("nested", False))
PLAIN = {"lstm": LSTM(4), "gru": GRU(4), "nested": nested_lstm(4, 2)}


@pytest.mark.parametrize(
    ("name", "keyed"),
    [
        pytest.param(*case, marks=() if case in RATE_0_BY_DEFAULT else pytest.mark.slow)
        for case in itertools.product(PLAIN, (True, False))
    ],
)
def test_at_rate_0_it_is_the_bare_cell_to_the_last_bit(name, keyed):
    cell = PLAIN[name]
    params, xs, start = references.example(cell, in_features=3)
    expected = references.run(cell, params, xs, start)
    for wrapped in (VariationalDropout(cell), Zoneout(cell, 0.0), Zoneout(cell, none_of(cell))):
        found = references.run(wrapped, params, xs, start, key=KEY if keyed else None)
        references.assert_trees_close(found, expected, 0.0)


@pytest.mark.parametrize("keyed", [True, False])
def test_a_rate_may_be_a_whole_number(keyed):
    params, xs, start = references.example(LSTM(4), in_features=3)
    found, expected = (
        references.run(Zoneout(LSTM(4), LSTMCarry(none, 0.5)), params, xs, start, key=KEY if keyed else None)
        for none in (0, 0.0)
    )
    references.assert_trees_close(found, expected, 0.0)


NOISY = {
    "inputs": VariationalDropout(LSTM(4), inputs=0.5),
    "recurrent": VariationalDropout(GRU(4), recurrent=0.5),
    "weights": VariationalDropout(Elman(4), weights=0.5),
    "nested": Nested(4, VariationalDropout(LSTM(4), recurrent=0.5)),
    "nested_twice": Nested(4, Nested(4, VariationalDropout(GRU(4), inputs=0.5))),
    "zoneout": Zoneout(LSTM(4), 0.5),
    "zoneout_of_one": Zoneout(LSTM(4), LSTMCarry(c=0.5, h=0.0)),
    "zoneout_0_of_noisy": Zoneout(VariationalDropout(LSTM(4), inputs=0.5), 0.0),
    "transition": DeepTransition((GRU(4), VariationalDropout(GRU(4), recurrent=0.5))),
    "output": DeepOutput(Zoneout(LSTM(4), 0.5), widths=(3,)),
    "stack": Stack((Elman(4), Elman(4)), dropout=0.5),
    "noisy_layer": Stack((Elman(4), Zoneout(Elman(4), 0.5))),
    "one_direction": Bidirectional(LSTM(4), VariationalDropout(LSTM(4), inputs=0.5)),
    "stack_of_directions": Stack((Bidirectional(Elman(4), Elman(4)), Elman(4)), dropout=0.5),
}
QUIET = {
    "elman": Elman(4),
    "gru": GRU(4),
    "lstm": LSTM(4),
    "nested": nested_lstm(4, 3),
    "rate_0": Zoneout(GRU(4), 0),
    "rates_0": Zoneout(LSTM(4), LSTMCarry(c=0.0, h=0.0)),
    "dropout_0": VariationalDropout(LSTM(4)),
    "transition": DeepTransition((GRU(4), GRU(4))),
    "output": DeepOutput(LSTM(4), widths=(3,)),
    "stack": Stack((LSTM(4), GRU(3))),
    "one_layer": Stack((LSTM(4),), dropout=0.5),
    "directions": Bidirectional(LSTM(4), GRU(4)),
}


def test_what_draws_noise_is_known():
    assert [name for name, cell in NOISY.items() if not is_stochastic(cell, 3)] == []
    assert [name for name, cell in QUIET.items() if is_stochastic(cell, 3)] == []


@dataclass(frozen=True)
class Multiplied(Elman):
    """A user's cell whose noise is not a mask: its recurrent matrix is multiplied by gamma variates of mean 1."""

    def sample_noise(self, params, key, shape):
        if key is None:
            return params, ()
        return params._replace(w_h=params.w_h * jax.random.gamma(key, 4.0, params.w_h.shape) / 4), ()


def test_noise_of_any_distribution_is_noise():
    cell = Multiplied(4)
    params = cell.init(KEY, 3)
    assert not np.allclose(cell.sample_noise(params, KEY, (1, 1, 3))[0].w_h, params.w_h)
    assert is_stochastic(cell, 3)


# Each place from which noise is drawn, in the deepest of the layers that have it.
NOISY_BY_DEFAULT = (
    "weights",
    "nested_twice",
    "zoneout_0_of_noisy",
    "transition",
    "output",
    "one_direction",
    "stack_of_directions",
)


@pytest.mark.parametrize("name", zoo.marked(NOISY, NOISY_BY_DEFAULT))
def test_a_key_decides_and_without_one_nothing_is_random(name):
    cell = NOISY[name]
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, in_features=3, steps=5, batch=6))
    one, again, other = (references.run(cell, params, xs, key=jax.random.key(seed))[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    silent = references.run(cell, params, xs)[1]
    np.testing.assert_array_equal(silent, references.run(cell, params, xs)[1])
    assert not np.allclose(one, silent)
    if isinstance(cell, VariationalDropout):
        np.testing.assert_array_equal(silent, references.run(cell.cell, params, xs)[1])


SILENCED = [NOISY["weights"], VariationalDropout(LSTM(4), inputs=0.5, recurrent=0.5, weights=0.5)]


@pytest.mark.parametrize("cell", SILENCED, ids=["elman", "lstm"])
def test_without_a_key_a_dropped_cell_has_the_parameters_and_the_noise_of_the_bare_one(cell):
    params = cell.init(KEY, 3)
    prepared, noise = cell.sample_noise(params, None, (5, 2, 3))
    assert prepared is params
    assert noise == ()


@pytest.mark.parametrize("plain", [GRU(4), nested_lstm(4, 2), nested_lstm(4, 3)], ids=["gru", "nested_2", "nested_3"])
def test_noise_moves_no_parameter(plain):
    noisy = with_regularizers(
        plain, input_dropout=(0.1,), recurrent_dropout=(0.2,), weight_drop=(0.4,), zoneout=(0.5,)
    )
    found, expected = noisy.init(KEY, 3), plain.init(KEY, 3)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert (noisy.features, noisy.out_features) == (plain.features, plain.out_features)
    assert jax.tree.structure(noisy.initial_carry((2,))) == jax.tree.structure(plain.initial_carry((2,)))


def drawn_on(count):
    """Compute the noise, and outputs and gradients with this noise, with the batch split over that many devices."""
    cell = Stack(
        (Zoneout(with_regularizers(nested_lstm(4, 2), input_dropout=(0.3,), recurrent_dropout=(0.3,)), 0.3),) * 2
    )
    cell = Stack((*cell.cells, VariationalDropout(LSTM(4), weights=0.3)), dropout=0.3)
    params = cell.init(jax.random.key(0), 3)
    xs = np.random.default_rng(1).standard_normal((5, 8, 3)).astype(np.float32)
    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))
    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "data"))

    def all_of_it(params, xs, key):
        def loss(params):
            ys = unroll(cell, params, xs, key=key)[1]
            return jnp.square(ys).sum(), ys

        gradients, ys = jax.grad(loss, has_aux=True)(params)
        return cell.sample_noise(jax.tree.map(jnp.ones_like, params), key, xs.shape), ys, gradients

    run = references.compiled(all_of_it, in_shardings=(whole, split, whole))
    noise, ys, gradients = run(params, xs, jax.random.key(2))
    assert len(ys.sharding.device_set) == count
    return [np.asarray(leaf) for leaf in jax.tree.leaves(noise)], [np.asarray(ys), *jax.tree.leaves(gradients)]


ON_DEVICES = """
import importlib.util, sys
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 4)
sys.path.insert(0, "tests")
spec = importlib.util.spec_from_file_location("noise", sys.argv[1])
noise = importlib.util.module_from_spec(spec)
spec.loader.exec_module(noise)
for name, arrays in zip(("drawn", "computed"), noise.drawn_on(4)):
    np.savez(f"{sys.argv[2]}/{name}.npz", *map(np.asarray, arrays))
"""


@pytest.mark.slow
def test_one_device_and_four_have_the_same_noise(tmp_path):
    subprocess.run([sys.executable, "-c", ON_DEVICES, __file__, str(tmp_path)], check=True, timeout=200)
    noise, computed = drawn_on(1)
    assert sum(leaf.min() < leaf.max() for leaf in noise) == 17
    with np.load(tmp_path / "drawn.npz") as arrays:
        for ours, theirs in zip(noise, arrays.values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with np.load(tmp_path / "computed.npz") as arrays:
        for ours, theirs in zip(computed, arrays.values(), strict=True):
            np.testing.assert_allclose(ours, theirs, 1e-6, 1e-6)


def test_rates_go_to_their_levels():
    cell = with_regularizers(
        nested_lstm(4, 3), input_dropout=(0.1, 0.0, 0.0), recurrent_dropout=(0.2,), zoneout=(0.0,)
    )
    assert (cell.inputs, cell.recurrent, cell.weights) == (0.1, 0.2, 0.0)
    middle = cell.cell.inner
    innermost = middle.cell.inner
    assert (middle.inputs, middle.recurrent, innermost.inputs, innermost.recurrent) == (0.0, 0.2, 0.0, 0.2)
    assert isinstance(innermost.cell, LSTM)
    only = with_regularizers(nested_lstm(4, 3), weight_drop=(0.0, 0.0, 0.3))
    assert only == Nested(
        4, Nested(4, VariationalDropout(nested_lstm(4, 3).inner.inner, weights=0.3), "tanh"), "identity"
    )


def test_rates_of_zoneout_are_h_and_then_the_memories_outermost_first():
    rates = with_regularizers(nested_lstm(4, 3), zoneout=(0.1, 0.2, 0.3, 0.4)).rates
    assert rates == NestedCarry(0.1, NestedCarry(0.2, LSTMCarry(h=0.3, c=0.4)))
    assert with_regularizers(LSTM(4), zoneout=(0.05, 0.5)).rates == LSTMCarry(h=0.05, c=0.5)
    assert with_regularizers(Nested(4, GRU(4)), zoneout=(0.1, 0.2)).rates == NestedCarry(0.1, GRUCarry(0.2))
    assert with_regularizers(DeepTransition((LSTM(4),) * 2), zoneout=(0.1, 0.2)).rates == LSTMCarry(h=0.1, c=0.2)
    assert with_regularizers(nested_lstm(4, 2), zoneout=(0.1,)).rates == NestedCarry(0.1, LSTMCarry(0.1, 0.1))


@pytest.mark.parametrize("cell", [Elman(4), nested_lstm(4, 3), Stack((LSTM(4), LSTM(4)))], ids=["elman", "3", "stack"])
def test_where_all_rates_are_0_there_is_no_wrapper(cell):
    none = dict.fromkeys(("input_dropout", "recurrent_dropout", "weight_drop", "zoneout"), (0.0,))
    assert with_regularizers(cell) == with_regularizers(cell, **none) == cell


@pytest.mark.parametrize("rates", [(0.0, 0.0, 0.0), (0.1, 0.2, 0.3), ()], ids=["zeros", "rates", "none"])
@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout", "weight_drop", "zoneout"])
def test_another_number_of_rates_is_refused_by_name_whatever_they_are(name, rates):
    with pytest.raises(ValueError, match=rf"^{name}: 1 rate, or .* expected, found \("):
        with_regularizers(LSTM(4), **{name: rates})


@pytest.mark.parametrize("rate", [1.0, 1.5, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["inputs", "recurrent", "weights", "rates"])
def test_a_rate_that_is_no_probability_below_1_is_refused_by_name(field, rate):
    with pytest.raises(ValueError, match=rf"{field}: a rate in \[0, 1\) expected, found {rate!r}"):
        Zoneout(LSTM(4), LSTMCarry(0.1, rate)) if field == "rates" else VariationalDropout(LSTM(4), **{field: rate})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: with_regularizers(LSTM(4), recurrent_dropout=(0.1, 0.2)),
            r"recurrent_dropout: 1 rate, or 1 for the 1 levels",
        ),
        (
            lambda: with_regularizers(LSTM(4), zoneout=(0.1,) * 3),
            r"zoneout: 1 rate, or 2 for the 2 vectors of the carry",
        ),
        (
            lambda: VariationalDropout(LSTM(4), inputs=1.0),
            r"VariationalDropout: inputs: a rate in \[0, 1\) expected, found 1.0",
        ),
        (lambda: Zoneout(LSTM(4), -0.1), r"Zoneout: rates: a rate in \[0, 1\) expected, found -0.1"),
        (
            lambda: Zoneout(LSTM(4), GRUCarry(h=0.1)),
            "a LSTMCarry with a rate for each of c, h expected, found GRUCarry",
        ),
        (lambda: Zoneout(Stack((LSTM(4),)), 0.1), "Zoneout: cell: a single cell, .* expected, found Stack"),
        (lambda: VariationalDropout(Zoneout(LSTM(4), 0.1)), "Zoneout goes around VariationalDropout, not inside it"),
        (lambda: Nested(4, Zoneout(LSTM(4), 0.1)), "Nested: inner: Zoneout goes around Nested, not inside it"),
    ],
)
def test_what_does_not_serve_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weight_drop_wants_a_recurrent_matrix():
    with pytest.raises(
        ValueError,
        match=r"weights: a cell whose parameters have a field w_h expected, found DeepTransition with cells",
    ):
        VariationalDropout(DeepTransition((Elman(4), Elman(4))), weights=0.5)


class Deaf(Elman):
    """A cell that ignores `recurrent_input`."""

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        return super().step(params, carry, z, noise)


def test_recurrent_dropout_wants_a_cell_that_reads():
    with pytest.raises(
        ValueError,
        match=r"^VariationalDropout: recurrent: a cell whose step uses `recurrent_input` expected, found De",
    ):
        VariationalDropout(Deaf(4), recurrent=0.5)
    assert VariationalDropout(Deaf(4), inputs=0.5).out_features == 4
