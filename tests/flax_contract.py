"""The cells that Flax's own recurrent layers must run as `unroll` does, and what the tests of both adapters share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import references
import zoo
from flax import nnx
from zoo import D

from nlstm_jax.unroll import unroll

T, B = 5, 3
KEY = jax.random.key(3)
LENGTHS = np.array([5, 3, 1])
CELLS = zoo.cells("stepped", without=("own", "option"))
NOISY = zoo.names("noisy")
# A cell of each kind: with options, nested around another kind, a stack with noise, wrapped twice.
every_cell = zoo.parametrize(
    "stepped", without=("own", "option"), default=("lstm_options", "nested_gru", "stack", "zoneout_dropped_nested")
)


@functools.cache
def example(cell, seed=0):
    """(params, xs, start carry), time-major."""
    return jax.tree.map(jnp.asarray, references.example(cell, D, T, B, seed))


def transposed(tree):
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


def with_values(module, params):
    """Set the parameters of a module to the values, and return the module."""
    variables = jax.tree.leaves(module.params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    for variable, value in zip(variables, jax.tree.leaves(params), strict=True):
        variable.set_value(value)
    return module
