"""Build cells by name from a module of the user."""

import sys
import types

import jax.numpy as jnp
import pytest

from nlstm_jax import cells
from nlstm_jax.cells import Elman


class Short(Elman):
    """A cell whose step lacks the arguments `noise` and `recurrent_input`."""

    def step(self, params, carry, z):
        return super().step(params, carry, z)


class Swapped(Elman):
    """A cell whose step returns the output before the carry."""

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        return super().step(params, carry, z, noise, recurrent_input)[::-1]


class Wide(Elman):
    """A cell whose output is not as wide as its `out_features`."""

    def step(self, params, carry, z, noise=(), recurrent_input=None):
        carry, y = super().step(params, carry, z, noise, recurrent_input)
        return carry, jnp.concatenate([y, y], -1)


@pytest.fixture(autouse=True)
def module(monkeypatch):
    own = types.ModuleType("own_cells")
    own.Short, own.Swapped, own.Wide, own.Good = Short, Swapped, Wide, Elman
    own.number, own.kind = lambda features: 3, lambda features: Elman
    monkeypatch.setitem(sys.modules, "own_cells", own)


def test_a_factory_of_ones_own_makes_the_cell():
    assert cells.build({"name": "own_cells:Good", "features": 4, "activation": "relu"}, 3) == Elman(
        4, activation="relu"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", r"what it makes: a cell expected, found 3, which lacks features, init, initial_carry, "),
        ("kind", r"what it makes: a cell expected, found the class Elman"),
        (
            "Short",
            r"step\(params, carry, z, noise=\(\), recurrent_input=None\) expected, found step\(params, carry, z\)",
        ),
        (
            "Swapped",
            r"step: on 2 sequences of width 3, \(carry, y\) of the shapes \(ElmanCarry\(h=\(2, 4\)\), \(2, 4\)\) ",
        ),
        ("Wide", r"step: .* expected, found \(ElmanCarry\(h=\(2, 4\)\), \(2, 8\)\)"),
    ],
)
def test_what_a_factory_makes_that_is_no_cell_is_named(name, message):
    with pytest.raises(ValueError, match=f"^cell: 'own_cells:{name}': {message}"):
        cells.build({"name": f"own_cells:{name}", "features": 4}, 3)
