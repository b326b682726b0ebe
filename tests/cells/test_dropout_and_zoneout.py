"""Dropout and zoneout enter the equations where the papers say."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanCarry,
    GRUCarry,
    LSTMCarry,
    MaskedParams,
    Nested,
    NestedCarry,
    VariationalDropout,
    Zoneout,
    ZoneoutNoise,
    nested_lstm,
    with_regularizers,
)

KEY = jax.random.key(3)


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
