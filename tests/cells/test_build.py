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


class Long(Elman):
    """A cell whose step has an argument without a default that no other cell has."""

    def step(self, params, carry, z, temperature):
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
    own.Short, own.Long, own.Swapped, own.Wide, own.Good = Short, Long, Swapped, Wide, Elman
    own.number, own.kind = lambda features: 3, lambda features: Elman
    monkeypatch.setitem(sys.modules, "own_cells", own)


def test_a_factory_of_ones_own_makes_the_cell():
    assert cells.build({"name": "own_cells:Good", "features": 4, "activation": "relu"}, 3) == Elman(
        4, activation="relu"
    )


def test_a_step_without_noise_and_recurrent_input_serves():
    cell = cells.build({"name": "own_cells:Short", "features": 4, "zoneout": [0.1]}, 3)
    assert cells.spec_repr(cell) == "Zoneout(cell=Short(features=4), rates=ElmanCarry(h=0.1))"
    with pytest.raises(ValueError, match=r"^Short: step: an argument `recurrent_input` expected, as there is dropout"):
        cells.build({"name": "own_cells:Short", "features": 4, "recurrent_dropout": [0.1]}, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", r"what it makes: a cell expected, found 3, which lacks features, init, initial_carry, "),
        ("kind", r"what it makes: a cell expected, found the class Elman"),
        (
            "Long",
            r"Long: step: step\(params, carry, x\), where `noise` and `recurrent_input` may follow, expected, found ",
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
