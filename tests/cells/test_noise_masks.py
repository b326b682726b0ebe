"""The masks that noise draws: their rates, their expectation, and that no two of them are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    Bidirectional,
    DeepTransition,
    Elman,
    ElmanCarry,
    ElmanParams,
    LSTMCarry,
    Nested,
    NestedCarry,
    Stack,
    VariationalDropout,
    Zoneout,
    nested_lstm,
)

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
