"""The probed loop is `unroll`, and a change of a memory has the effect that the equations say."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

from nlstm_jax.analysis.memories import gradient_by_lag, held_back, segments_of
from nlstm_jax.cells import GRU, LSTM, DeepTransition, Stack, complete, nested_lstm
from nlstm_jax.probes.loop import NO_INTERVENTION, memories_of, probed_scan
from nlstm_jax.probes.model import has_steps
from nlstm_jax.unroll import unroll

T, B, D, H = 7, 3, 2, 4
LENGTHS = jnp.array([7, 4, 0])


class PairCarry(NamedTuple):
    h: jax.Array
    unused: jax.Array


class Linear:
    """h_t = a h_{t−1} + x_t, with a second memory that nothing reads."""

    features = D
    out_features = D

    def init(self, key, in_features):
        return (jnp.float32(0.8),)

    def initial_carry(self, batch_shape):
        return PairCarry(jnp.zeros((*batch_shape, D)), jnp.zeros((*batch_shape, D)))

    def step(self, params, carry, x):
        h = params[0] * carry.h + x
        return PairCarry(h, carry.unused + x), h


def inputs(seed=0):
    return jax.random.normal(jax.random.key(seed), (T, B, D))


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (nested_lstm(H, depth=2), ["h", "inner.h", "inner.c"]),
        pytest.param(
            nested_lstm(H, depth=3), ["h", "inner.h", "inner.inner.h", "inner.inner.c"], marks=pytest.mark.slow
        ),
        pytest.param(Stack((LSTM(H), GRU(H))), ["layers[0].h", "layers[0].c", "layers[1].h"], marks=pytest.mark.slow),
        pytest.param(DeepTransition((LSTM(H), LSTM(H))), ["h", "c"], marks=pytest.mark.slow),
        pytest.param(zoo.build("own"), None, marks=pytest.mark.slow),
    ],
    ids=["nested2", "nested3", "stack", "deep", "own"],
)
def test_the_probed_loop_is_unroll(cell, names):
    cell = complete(cell)
    params = cell.init(jax.random.key(1), D)
    resets = jnp.zeros((T, B), bool).at[3, 0].set(True)
    last, ys, carries = unroll(
        cell, params, inputs(), lengths=LENGTHS, resets=resets, return_carries=True, mode="scan"
    )
    record = probed_scan(cell, params, inputs(), lengths=LENGTHS, resets=resets)
    np.testing.assert_allclose(record.outputs, ys, atol=1e-6)
    for found, expected in zip(jax.tree.leaves(record.last), jax.tree.leaves(last), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    memories = memories_of(carries)
    assert names is None or list(memories) == names
    for name, memory in memories.items():
        np.testing.assert_allclose(record.after[name], memory, atol=1e-6)
        # Each step reads what the step before has left, and the initial carry after a reset.
        np.testing.assert_array_equal(record.read[name][1:3], record.after[name][:2])
        assert (np.asarray(record.read[name][3, 0]) == 0).all()


@pytest.mark.parametrize("name", zoo.names("bidirectional"))
def test_a_bidirectional_layer_has_no_steps(name):
    assert not has_steps(zoo.build(name))
    assert has_steps(Stack((LSTM(H), Stack((GRU(H),)))))


def test_the_gradient_of_a_linear_recurrence_is_a_power_of_its_factor():
    cell = complete(Linear())
    params = cell.init(jax.random.key(0), D)
    lengths = jnp.array([7, 4, 2])
    origins = np.array([[6, 3, 1]])

    def outputs(added):
        intervention = NO_INTERVENTION._replace(added=added)
        return probed_scan(cell, params, inputs(), lengths=lengths, intervention=intervention).outputs

    ys, pull_back = jax.vjp(outputs, {"h": jnp.zeros((T, B, D)), "unused": jnp.zeros((T, B, D))})
    signs = jax.random.rademacher(jax.random.key(2), (B, D), jnp.float32)
    (gradients,) = pull_back(jnp.where((jnp.arange(T)[:, None] == origins[0])[..., None], signs, 0.0) + 0 * ys)
    segments = segments_of(np.arange(T)[:, None] < np.asarray(lengths))
    norms = gradient_by_lag(np.asarray(gradients["h"])[None], origins, segments, lags=6)
    np.testing.assert_allclose(norms, np.sqrt(D) * 0.8 ** np.arange(1, 7), rtol=1e-5)
    assert not gradients["unused"].any()


def test_holding_a_memory_that_nothing_reads_changes_nothing_and_holding_another_does():
    cell = complete(Linear())
    params = cell.init(jax.random.key(0), D)
    clean = probed_scan(cell, params, inputs())
    zeros = jnp.zeros((T, B, D))

    def held(**options):
        intervention = NO_INTERVENTION._replace(**options)
        return np.asarray(probed_scan(cell, params, inputs(), intervention=intervention).outputs)

    expected = np.asarray(clean.outputs)
    np.testing.assert_array_equal(held(replaced={"unused": zeros}), expected)
    # A linear recurrence without its memory returns its inputs.
    np.testing.assert_allclose(held(replaced={"h": zeros}), inputs(), atol=1e-6)
    both = {"unused": zeros, "h": zeros}
    flags = {"unused": jnp.array(True), "h": jnp.array(False)}
    np.testing.assert_array_equal(held(replaced=both, held=flags), expected)
    segments = segments_of(np.ones((T, B), bool))
    own = held_back(np.asarray(clean.read["h"]), segments, 0)
    np.testing.assert_array_equal(held(replaced={"h": own}), expected)
    late = held_back(np.asarray(clean.read["h"]), segments, 2)
    xs = np.asarray(inputs())
    delayed = xs[3:] + 0.8 * np.asarray(clean.outputs)[: T - 3]
    np.testing.assert_allclose(held(replaced={"h": late})[3:], delayed, atol=1e-5)
