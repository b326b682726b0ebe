"""The cells that Flax's own recurrent layers must run as `unroll` does, and what the tests of both adapters share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import references

from nlstm_jax.cells import (
    GRU,
    LSTM,
    DeepOutput,
    DeepTransition,
    Elman,
    LSTMCarry,
    Nested,
    SequenceDropout,
    Stack,
    Zoneout,
    nested_lstm,
)
from nlstm_jax.unroll import unroll

T, B, D, H = 5, 3, 2, 3
KEY = jax.random.key(3)
LENGTHS = np.array([5, 3, 1])
CELLS = {
    "elman": Elman(H),
    "gru": GRU(H),
    "gru_reset_before": GRU(H, reset_after=False),
    "lstm": LSTM(H),
    "lstm_options": LSTM(H, peephole=True, projection=2, layer_norm=True),
    "lstm_no_bias": LSTM(H, use_bias=False),
    "nested_2": nested_lstm(H, 2),
    "nested_3_add": nested_lstm(H, 3, "add"),
    "nested_gru": Nested(H, GRU(H)),
    "stack": Stack((LSTM(H), nested_lstm(2, 2)), skip=True, residual=True),
    "stack_dropout": Stack((LSTM(H), GRU(H)), dropout=0.5),
    "dropped": SequenceDropout(LSTM(H), inputs=0.5, recurrent=0.5, weights=0.5),
    "nested_around_dropped": Nested(H, SequenceDropout(GRU(H), recurrent=0.5)),
    "zoneout": Zoneout(LSTM(H), LSTMCarry(c=0.5, h=0.2)),
    "transition": DeepTransition((GRU(H), GRU(H))),
    "output": DeepOutput(LSTM(H), widths=(4, 2)),
}
NOISY = ("stack_dropout", "dropped", "nested_around_dropped", "zoneout")


@functools.cache
def example(cell, seed=0):
    """(params, xs, start carry), time-major."""
    return jax.tree.map(jnp.asarray, references.example(cell, D, T, B, seed))


def turned(tree):
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def backwards(array, lengths=None):
    """[T, B, …] with every sequence's own steps, and then its padding, in the other order: Flax's reversal."""
    lengths = np.full(B, T) if lengths is None else lengths
    place = (np.arange(T)[::-1, None] + lengths) % T
    return np.take_along_axis(np.asarray(array), place[..., None], 0)


def assert_close(found, expected, valid=None):
    """(carry, ys) equal, where a mask is given at its steps alone."""
    references.assert_trees_close(found[0], expected[0], 1e-5, "carry")
    ys, theirs = map(np.asarray, (found[1], expected[1]))
    if valid is not None:
        ys, theirs = ys[valid], theirs[valid]
    np.testing.assert_allclose(ys, theirs, 1e-5, 1e-5)


@functools.partial(references.compiled, static_argnames="cell")
def by_us(cell, params, xs, start, lengths):
    run = functools.partial(unroll, cell, params, xs)
    return {
        "plain": run(),
        "lengths": run(start, lengths=lengths),
        "reverse": run(start, reverse=True),
        "keep_order": run(start, lengths=lengths, reverse=True),
    }
