"""Packed rows: every document in a row has the outputs and gradients that it has when it is run alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import zoo
from zoo import D

from nlstm_jax.unroll import packed

# Two rows of seven steps; between the second row's documents there is padding.
SEGMENTS = np.array([[1, 1, 1, 2, 3, 3, 0], [0, 1, 1, 0, 4, 4, 4]]).T
DOCUMENTS = [(0, range(3)), (0, range(3, 4)), (0, range(4, 6)), (1, range(1, 3)), (1, range(4, 7))]
LAYERS = zoo.cells("bidirectional", without="option") | {"lstm": zoo.build("lstm")}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


@functools.cache
def example(layer):
    """Return parameters, inputs and zero carries of two rows."""
    params, xs, start = references.example(layer, in_features=D, steps=7, batch=2)
    return params, xs, jax.tree.map(np.zeros_like, start)


def run(layer, params, xs, start, mask=None, resets=None, lengths=None, reverse=False):
    """Return (last carry, outputs), with every mask given, so that a layer is compiled once for each direction."""
    length, batch, _ = xs.shape
    mask = np.ones((length, batch), bool) if mask is None else mask
    resets = np.zeros((length, batch), bool) if resets is None else resets
    lengths = np.full(batch, length) if lengths is None else lengths
    return references.run(layer, params, xs, start, mask=mask, resets=resets, lengths=lengths, reverse=reverse)


def alone(layer, row, steps, reverse=False):
    """Return the outputs of a document that is run by itself, at the beginning of a row."""
    params, xs, start = example(layer)
    own = np.full_like(xs, np.nan)
    own[: len(steps), 0] = xs[steps, row]
    _, ys = run(layer, params, own, start, lengths=np.array([len(steps), 0]), reverse=reverse)
    return ys[: len(steps), 0]


def test_the_marks_of_a_row():
    mask, resets = packed(jnp.array(SEGMENTS))
    np.testing.assert_array_equal(mask.T, [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1]])
    np.testing.assert_array_equal(resets.T, [[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0]])
    mask, resets = packed(jnp.array(SEGMENTS), reverse=True)
    np.testing.assert_array_equal(mask.T, [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1, 1]])
    np.testing.assert_array_equal(resets.T, [[0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]])


@every_layer
def test_packed_documents_run_backwards_are_each_run_alone(layer):
    params, xs, start = example(layer)
    _, ys = run(layer, params, xs, start, *packed(jnp.array(SEGMENTS), reverse=True), reverse=True)
    for row, steps in DOCUMENTS:
        expected = alone(layer, row, steps, reverse=True)
        np.testing.assert_allclose(ys[np.array(steps), row], expected, 1e-5, 1e-6)


def test_a_rows_first_step_goes_on_from_the_carry_that_is_given():
    layer = LAYERS["lstm"]
    params, xs, start = references.example(layer, in_features=D, steps=7, batch=2)
    mask, resets = packed(jnp.array(SEGMENTS))
    going_on, _ = run(layer, params, xs, start, lengths=np.array([3, 0]))
    _, ys = run(layer, params, xs, start, mask, resets)
    _, first = run(layer, params, xs, start, lengths=np.array([3, 0]))
    np.testing.assert_array_equal(ys[:3, 0], first[:3, 0])
    assert not np.allclose(ys[:3, 0], alone(layer, 0, range(3)))
    np.testing.assert_array_equal(going_on.c[1], start.c[1].astype(np.float32))


@every_layer
def test_packed_documents_are_each_run_alone(layer):
    params, xs, start = example(layer)
    dirty = np.where((SEGMENTS > 0)[..., None], xs, np.nan)
    _, ys = run(layer, params, dirty, start, *packed(jnp.array(SEGMENTS)))
    for row, steps in DOCUMENTS:
        np.testing.assert_allclose(ys[np.array(steps), row], alone(layer, row, steps), 1e-5, 1e-6)
    assert not ys[SEGMENTS == 0].any()


@every_layer
def test_packed_documents_run_backwards_are_the_mirror_of_the_same_forwards(layer):
    params, xs, start = example(layer)
    _, expected = run(layer, params, xs, start, *packed(jnp.array(SEGMENTS)))
    mask, resets = (jnp.flip(marks, 0) for marks in packed(jnp.array(SEGMENTS)))
    _, ys = run(layer, params, xs[::-1], start, mask, resets, reverse=True)
    np.testing.assert_allclose(ys[::-1], expected, 1e-5, 1e-6)
    for row, steps in DOCUMENTS:
        np.testing.assert_allclose(ys[::-1][np.array(steps), row], alone(layer, row, steps), 1e-5, 1e-6)


@every_layer
def test_no_document_has_a_gradient_by_anothers_inputs(layer):
    params, xs, start = example(layer)
    mask, resets = packed(jnp.array(SEGMENTS))
    weights = jax.tree.map(np.zeros_like, (start, np.zeros((7, 2, layer.out_features))))
    weights[1][3:4, 0] = 1.0
    weights[1][4:7, 1] = 1.0
    _, (_, by_xs, _) = references.value_and_gradients(layer, params, xs, start, weights, None, mask, resets)
    touched = np.asarray(by_xs).any(-1)
    np.testing.assert_array_equal(touched.T, [[0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]])
