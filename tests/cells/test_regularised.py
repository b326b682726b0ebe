"""Noise: its rates and expectation over many draws, its place in the equations, and where it is not."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Elman,
    GRUCarry,
    LSTMCarry,
    Nested,
    NestedCarry,
    SequenceDropout,
    Stack,
    Zoneout,
    build,
    draws_noise,
    nested_lstm,
    regularised,
)
from nlstm_jax.unroll import unroll

KEY = jax.random.key(3)


def assert_rate(kept, rate):
    """A share of 1 − rate within four standard errors."""
    kept = np.asarray(kept)
    assert kept.size >= 100_000
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)


def assert_mask(mask, rate):
    """0 or 1/(1 − rate), with the rate and the expectation 1."""
    np.testing.assert_allclose(np.unique(np.round(mask, 4)), [0, round(1 / (1 - rate), 4)], 1e-6)
    assert_rate(np.asarray(mask) > 0, rate)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_of_a_sequence_keep_the_rate_and_the_expectation(rate) -> None:
    cell = SequenceDropout(LSTM(200), inputs=rate, recurrent=rate, weights=rate)
    params = cell.init(KEY, 250)
    prepared, noise = cell.prepare(params, KEY, (3, 600, 250))
    assert jax.tree.leaves(noise) == []
    assert_mask(prepared.inputs, rate)
    assert_mask(prepared.recurrent, rate)
    assert prepared.inputs.shape == (600, 250)
    assert prepared.recurrent.shape == (600, 200)
    assert_mask(prepared.cell.w_h / params.w_h, rate)
    np.testing.assert_array_equal(prepared.cell.w_x, params.w_x)


def test_zoneout_is_drawn_anew_at_every_step_with_the_rate_of_each_vector() -> None:
    cell = Zoneout(nested_lstm(50, 2), NestedCarry(h=0.05, inner=LSTMCarry(c=0.5, h=0.2)))
    _, noise = cell.prepare(cell.init(KEY, 3), KEY, (20, 100, 3))
    for kept, rate in zip(noise.kept, (0.05, 0.5, 0.2), strict=True):
        assert kept.shape == (20, 100, 50)
        assert_rate(~kept, rate)
        assert not np.array_equal(kept[0], kept[1])
    assert not np.array_equal(noise.kept[1] & noise.kept[2], noise.kept[2])


def test_levels_layers_and_examples_have_noise_of_their_own() -> None:
    level = SequenceDropout(Nested(40, SequenceDropout(LSTM(40), recurrent=0.5)), recurrent=0.5)
    stack = Stack((level, level))
    prepared, _ = stack.prepare(stack.init(KEY, 3), KEY, (2, 50, 3))
    masks = [mask for layer in prepared.layers for mask in (layer.recurrent, layer.cell.inner.recurrent)]
    for number, mask in enumerate(masks):
        assert not np.array_equal(mask[0], mask[1])
        assert not any(np.array_equal(mask, other) for other in masks[:number])


def stepped(step, params, carry, xs):
    ys = []
    for t, x in enumerate(xs):
        carry, y = step(t, params, carry, x)
        ys.append(y)
    return carry, np.stack(ys)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before"])
def test_dropout_stands_on_the_input_and_the_recurrent_product_and_the_memory_stays_true(name) -> None:
    inner = {"lstm": LSTM(4), "gru": GRU(4), "gru_reset_before": GRU(4, reset_after=False)}[name]
    cell = SequenceDropout(inner, inputs=0.3, recurrent=0.4, weights=0.5)
    params, xs, start = references.example(cell, in_features=3, steps=5, batch=2)
    with jax.enable_x64(True):
        params, xs, start = jax.tree.map(jnp.asarray, (params, xs, start))
        found = unroll(cell, params, xs, start, key=KEY)
        prepared, _ = cell.prepare(params, KEY, xs.shape)
    masked = jax.tree.map(np.asarray, prepared.cell)
    m_x, m_h = np.asarray(prepared.inputs), np.asarray(prepared.recurrent)

    def step(t, p, carry, x):
        x, read, h = x * m_x, carry.h * m_h, carry.h
        if name == "lstm":
            i, f, g, o = np.split(x @ p.w_x + read @ p.w_h + p.b, 4, axis=1)
            c = references.sigmoid(f) * carry.c + references.sigmoid(i) * np.tanh(g)
            h = references.sigmoid(o) * np.tanh(c)
            return LSTMCarry(c, h), h
        (x_r, x_z, x_n), (w_r, w_z, w_n) = np.split(x @ p.w_x + p.b, 3, axis=1), np.split(p.w_h, 3, axis=1)
        r, z = references.sigmoid(x_r + read @ w_r), references.sigmoid(x_z + read @ w_z)
        n = np.tanh(x_n + (r * (read @ w_n + p.b_n) if name == "gru" else (r * read) @ w_n))
        h = (1 - z) * n + z * h
        return GRUCarry(h), h

    expected = stepped(step, masked, jax.tree.map(np.asarray, start), np.asarray(xs))
    references.assert_trees_close(found, expected, 1e-10)


@pytest.mark.parametrize("drawn", [True, False])
def test_zoneout_is_the_papers(drawn) -> None:
    rates = LSTMCarry(c=0.4, h=0.3)
    cell = Zoneout(LSTM(4), rates)
    params, xs, start = references.example(cell, in_features=3, steps=6, batch=2)
    with jax.enable_x64(True):
        on_device = jax.tree.map(jnp.asarray, (params, xs, start))
        found = unroll(cell, *on_device, key=KEY if drawn else None)
        kept = cell.prepare(on_device[0], KEY, xs.shape)[1].kept
    old_c, old_h = (np.asarray(mask, float) for mask in kept)

    def step(t, p, carry, x):
        d_c, d_h = (old_c[t], old_h[t]) if drawn else (rates.c, rates.h)
        i, f, g, o = np.split(x @ p.w_x + carry.h @ p.w_h + p.b, 4, axis=1)
        c = references.sigmoid(f) * carry.c + references.sigmoid(i) * np.tanh(g)
        h = references.sigmoid(o) * np.tanh(c)
        h = d_h * carry.h + (1 - d_h) * h
        return LSTMCarry(d_c * carry.c + (1 - d_c) * c, h), h

    references.assert_trees_close(found, stepped(step, params, start, xs), 1e-10)


NOISY = {
    "inputs": SequenceDropout(LSTM(4), inputs=0.5),
    "recurrent": SequenceDropout(GRU(4), recurrent=0.5),
    "weights": SequenceDropout(Elman(4), weights=0.5),
    "nested": Nested(4, SequenceDropout(LSTM(4), recurrent=0.5)),
    "zoneout": Zoneout(LSTM(4), 0.5),
    "stack": Stack((Elman(4), Elman(4)), dropout=0.5),
}
QUIET = {"lstm": LSTM(4), "nested": nested_lstm(4, 3), "stack": Stack((LSTM(4), GRU(3))), "rate_0": Zoneout(GRU(4), 0)}


def test_what_draws_noise_is_known() -> None:
    assert [name for name, cell in NOISY.items() if not draws_noise(cell, 3)] == []
    assert [name for name, cell in QUIET.items() if draws_noise(cell, 3)] == []


@pytest.mark.parametrize("cell", NOISY.values(), ids=NOISY)
def test_a_key_decides_and_without_one_nothing_is_random(cell) -> None:
    params, xs, _ = jax.tree.map(jnp.asarray, references.example(cell, in_features=3, steps=5, batch=6))
    one, again, other = (unroll(cell, params, xs, key=jax.random.key(seed))[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    silent = unroll(cell, params, xs)[1]
    np.testing.assert_array_equal(silent, unroll(cell, params, xs)[1])
    if isinstance(cell, SequenceDropout):
        np.testing.assert_array_equal(silent, unroll(cell.cell, params, xs)[1])


def test_noise_moves_no_parameter() -> None:
    plain = nested_lstm(4, 2)
    noisy = regularised(plain, input_dropout=(0.1,), recurrent_dropout=(0.2, 0.3), weight_drop=(0.4,), zoneout=(0.5,))
    jax.tree.map(np.testing.assert_array_equal, noisy.init(KEY, 3), plain.init(KEY, 3))


ON_DEVICES = """
import sys, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from nlstm_jax import LSTM, SequenceDropout, Zoneout, unroll
cell = Zoneout(SequenceDropout(LSTM(8), inputs=0.3, recurrent=0.3, weights=0.3), 0.3)
params, xs = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (5, 8, 3))
mesh = jax.make_mesh((int(sys.argv[1]),), ("data",), axis_types=(AxisType.Auto,))
xs = jax.device_put(xs, NamedSharding(mesh, PartitionSpec(None, "data")))
params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
prepare = jax.jit(lambda params: cell.prepare(params, jax.random.key(2), xs.shape))
prepared, noise = prepare(params)
ys = jax.jit(lambda params, xs: unroll(cell, params, xs, key=jax.random.key(2))[1])(params, xs)
assert len(ys.sharding.device_set) == int(sys.argv[1])
masks = [prepared.inputs, prepared.recurrent, prepared.cell.w_h, *noise.kept]
np.savez(sys.argv[2], *map(np.asarray, masks), ys=np.asarray(ys))
"""


def test_one_device_and_four_have_the_same_noise(tmp_path) -> None:
    arrays = []
    for count in (1, 4):
        path = tmp_path / f"{count}.npz"
        subprocess.run([sys.executable, "-c", ON_DEVICES, str(count), str(path)], check=True, timeout=120)
        arrays.append(np.load(path))
    for name in arrays[0].files:
        if name == "ys":
            np.testing.assert_allclose(arrays[0][name], arrays[1][name], 1e-6, 1e-6)
        else:
            np.testing.assert_array_equal(arrays[0][name], arrays[1][name], err_msg=name)


def test_rates_go_to_their_levels() -> None:
    cell = regularised(nested_lstm(4, 3), input_dropout=(0.1, 0.0, 0.0), recurrent_dropout=(0.2,), zoneout=(0.0,))
    assert (cell.inputs, cell.recurrent, cell.weights) == (0.1, 0.2, 0.0)
    middle = cell.cell.inner
    innermost = middle.cell.inner
    assert (middle.inputs, middle.recurrent, innermost.inputs, innermost.recurrent) == (0.0, 0.2, 0.0, 0.2)
    assert isinstance(innermost.cell, LSTM)
    rates = regularised(nested_lstm(4, 3), zoneout=(0.1, 0.2, 0.3, 0.4)).rates
    assert rates == NestedCarry(0.1, NestedCarry(0.2, LSTMCarry(h=0.3, c=0.4)))
    assert regularised(LSTM(4), zoneout=(0.05, 0.5)).rates == LSTMCarry(h=0.05, c=0.5)


def test_a_configuration_puts_noise_around_each_layer_and_nothing_where_all_is_0() -> None:
    options = {"name": "nlstm", "features": 4, "depth": 2, "layers": 2}
    noise = {"input_dropout": [0.0], "recurrent_dropout": [0.0, 0.5], "weight_drop": [0.0], "zoneout": [0.25]}
    layer = Zoneout(
        Nested(4, SequenceDropout(LSTM(4), recurrent=0.5)), NestedCarry(h=0.25, inner=LSTMCarry(h=0.25, c=0.25))
    )
    assert build(options | noise, 3) == Stack((layer, layer))
    silent = {name: [0.0] for name in noise}
    assert build(options | silent, 3) == Stack((nested_lstm(4, 2), nested_lstm(4, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: regularised(LSTM(4), recurrent_dropout=(0.1, 0.2)),
            "recurrent_dropout: 1 rate, or 1 for",
        ),
        (lambda: regularised(LSTM(4), zoneout=(0.1,) * 3), r"zoneout: 1 rate, or 2 for the 2 vectors of the carry"),
        (
            lambda: SequenceDropout(LSTM(4), inputs=1.0),
            r"SequenceDropout: inputs: a rate in \[0, 1\) expected",
        ),
        (lambda: Zoneout(LSTM(4), -0.1), r"Zoneout: rates: a rate in \[0, 1\) expected, found -0.1"),
        (
            lambda: Zoneout(LSTM(4), GRUCarry(h=0.1)),
            "LSTMCarry with a rate for each of c, h expected, found GRU",
        ),
        (lambda: Zoneout(Stack((LSTM(4),)), 0.1), "Zoneout: cell: a single cell, .* expected, found Stack"),
        (lambda: SequenceDropout(Zoneout(LSTM(4), 0.1)), "Zoneout goes around SequenceDropout, not inside it"),
        (lambda: Nested(4, Zoneout(LSTM(4), 0.1)), "Nested: inner: Zoneout goes around Nested, not inside it"),
    ],
)
def test_what_does_not_serve_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_weight_drop_wants_a_recurrent_matrix() -> None:
    from nlstm_jax.cells import DeepTransition

    cell = SequenceDropout(DeepTransition((Elman(4), Elman(4))), weights=0.5)
    with pytest.raises(ValueError, match=r"weights: a cell whose parameters have a field w_h expected, found Deep"):
        cell.prepare(cell.init(KEY, 3), KEY, (2, 2, 3))
