"""A cell whose units keep their old value at random; as in `dropout`, its parameters are those of the cell inside."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import Cell, check_inside, check_rate, fold_in_name, leaves_with_names
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class ZoneoutNoise(NamedTuple):
    """The cell's own noise; which units keep their old value, one mask a leaf of the carry, None at rate 0."""

    cell: Noise
    kept: tuple[Bool[Array, "*b F"] | None, ...]


@dataclass(frozen=True)
class Zoneout:
    """A cell whose units keep, each at random and anew at every time step, their old value.

        s_t = d_t ⊙ s_{t−1} + (1 − d_t) ⊙ s̃_t      for every vector s of the carry, s̃ the cell's new one

    d is drawn with the rate of that vector; without noise (evaluation) it *is* the rate, the expectation. The
    output is the h that results. Zoneout goes around all else that touches the memory, and never inside a `Nested`.

    Attributes:
        cell: a single cell, whose carry has an h.
        rates: one rate for all vectors of the carry, or a carry of rates, e.g. `LSTMCarry(c=0.5, h=0.05)`.

    Source: Krueger et al. 2017, arXiv 1606.01305.

    >>> from nlstm_jax.cells import LSTM, LSTMCarry
    >>> cell = Zoneout(LSTM(4), LSTMCarry(c=0.5, h=0.05))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jnp.ones((2, 3))))
    >>> y.shape
    (2, 4)
    """

    cell: Cell
    rates: Any
    forbids_nesting: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_inside(self, "cell", self.cell)
        for rate in self._rates:
            check_rate(self, "rates", rate)
        expected = [name for name, _ in leaves_with_names(self._carry_shape)]
        if not isinstance(self.rates, int | float) and [name for name, _ in leaves_with_names(self.rates)] != expected:
            raise ValueError(
                f"Zoneout: rates: a number, or a {type(self._carry_shape).__name__} with a rate for each of "
                f"{', '.join(expected)} expected, found {self.rates!r}"
            )

    @property
    def features(self) -> int:
        """The cell's."""
        return self.cell.features

    @property
    def out_features(self) -> int:
        """The cell's."""
        return self.cell.out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """The cell's parameters."""
        return self.cell.init(key, in_features)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """The cell's."""
        return self.cell.initial_carry(batch_shape)

    def sample_noise(
        self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[Params, ZoneoutNoise | Noise]:
        """Draw, for every time step, which units keep their old value; and the cell's own noise."""
        if key is None:
            return self.cell.sample_noise(params, None, shape)
        prepared, noise = self.cell.sample_noise(params, fold_in_name(key, "cell"), shape)
        vectors = leaves_with_names(jax.eval_shape(lambda: self.cell.initial_carry(shape[:-1])))
        kept = tuple(
            jax.random.bernoulli(fold_in_name(key, name), rate, vector.shape) if rate else None
            for rate, (name, vector) in zip(self._rates, vectors, strict=True)
        )
        return prepared, ZoneoutNoise(noise, kept)

    def project(self, params: Params, x: Float[Array, "*b D"]) -> Projected:
        """The cell's projection."""
        return self.cell.project(params, x)

    def step(
        self,
        params: Params,
        carry: Carry,
        z: Projected,
        noise: ZoneoutNoise | Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """The cell's step, then old and new mixed."""
        drawn = isinstance(noise, ZoneoutNoise)
        stepped, _ = self.cell.step(params, carry, z, noise.cell if drawn else noise, recurrent_input)
        old, (new, structure) = jax.tree.leaves(carry), jax.tree.flatten(stepped)
        how = noise.kept if drawn else self._rates
        after = jax.tree.unflatten(structure, [_mixed(*vector) for vector in zip(how, old, new, strict=True)])
        return after, after.h

    @property
    def _carry_shape(self) -> Carry:
        return jax.eval_shape(lambda: self.cell.initial_carry(()))

    @property
    def _rates(self) -> list[Any]:
        """A rate for every vector of the carry, in the order of its leaves."""
        if isinstance(self.rates, int | float):
            return [self.rates] * len(jax.tree.leaves(self._carry_shape))
        return jax.tree.leaves(self.rates)


def _mixed(how: Array | float | int | None, old: Array, new: Array) -> Array:
    """Old and new by a drawn mask, or by a rate where none is drawn."""
    if how is None or isinstance(how, int | float):
        return how * old + (1 - how) * new if how else new
    return jnp.where(how, old, new)
