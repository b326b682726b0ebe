"""A classifier equals Keras' with the same weights, and ignores symbols after the end of a sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from nlstm_jax import cells
from nlstm_jax.cells import LSTM, nested_lstm
from nlstm_jax.models import Classifier, merge, split

KEY = jax.random.key(0)


def batch(seed=0, length=7, vocabulary=5):
    rng = np.random.default_rng(seed)
    lengths = np.array([7, 3, 1, 5])
    numbers = rng.integers(0, vocabulary, (length, 4))
    return np.where(np.arange(length)[:, None] < lengths, numbers, -1), lengths


def test_logits_are_those_of_keras_with_the_same_weights() -> None:
    keras = pytest.importorskip("keras", reason="the comparison with Keras' layers needs keras (extra: peers)")
    model = Classifier(5, 4, LSTM(6), key=KEY)
    numbers, lengths = batch()
    peer = keras.Sequential(
        [keras.Input((7, 5)), keras.layers.Masking(0.0), keras.layers.LSTM(6), keras.layers.Dense(4)]
    )
    params, head = model.cell.values, model.head
    peer.layers[1].set_weights([np.asarray(part) for part in (params.w_x, params.w_h, params.b)])
    peer.layers[2].set_weights([np.asarray(head.kernel[...]), np.asarray(head.bias[...])])
    one_hot = np.asarray(jax.nn.one_hot(numbers.T, 5))
    _, logits = model(jnp.asarray(numbers), jnp.asarray(lengths))
    np.testing.assert_allclose(logits, np.asarray(peer(one_hot)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("embedding", [None, 3])
def test_padding_changes_nothing(embedding: int | None) -> None:
    model = Classifier(5, 4, nested_lstm(6, depth=2), embedding=embedding, key=KEY)
    numbers, lengths = batch()
    graph, parameters = split(model)
    # Compiled once a shape, and not operation by operation.
    run = references.compiled(lambda parameters, *given: merge(graph, parameters)(*given))
    carry, logits = run(parameters, jnp.asarray(numbers), jnp.asarray(lengths))
    filled = np.where(numbers < 0, 2, numbers)
    longer = np.concatenate([filled, np.full((3, 4), 4)])
    found = run(parameters, jnp.asarray(longer), jnp.asarray(lengths))
    for ours, theirs in zip(jax.tree.leaves((carry, logits)), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    for place, length in enumerate(lengths):
        alone = run(parameters, jnp.asarray(numbers[:length, place : place + 1]), jnp.asarray([length]))[1]
        np.testing.assert_allclose(logits[place], alone[0], rtol=1e-5, atol=1e-6)


def test_two_windows_with_the_carry_between_them_are_one_sequence() -> None:
    model = Classifier(5, 4, LSTM(6), key=KEY)
    numbers, lengths = (jnp.asarray(part) for part in batch())
    whole_carry, whole = model(numbers, lengths)
    middle, first = model(numbers[:3], jnp.minimum(lengths, 3))
    carry, second = model(numbers[3:], jnp.maximum(lengths - 3, 0), middle)
    for ours, theirs in zip(jax.tree.leaves(carry), jax.tree.leaves(whole_carry), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    there = jnp.where((lengths > 3)[:, None], second, first)
    np.testing.assert_allclose(there, whole, rtol=1e-6, atol=1e-6)


def test_dropout_comes_from_the_key_and_leaves_evaluation_alone() -> None:
    cell = cells.with_regularizers(LSTM(6), input_dropout=(0.5,))
    noisy = Classifier(5, 4, cell, dropout_output=0.5, key=KEY)
    plain = Classifier(5, 4, LSTM(6), key=KEY)
    noisy = merge(split(noisy)[0], split(plain)[1])
    numbers, lengths = (jnp.asarray(part) for part in batch())
    np.testing.assert_array_equal(noisy(numbers, lengths)[1], plain(numbers, lengths)[1])
    one, two = (noisy(numbers, lengths, key=jax.random.key(n))[1] for n in (1, 2))
    assert np.abs(one - two).max() > 1e-3
