"""A wrapper whose units keep their previous value at random.

As in `dropout`, the parameters are those of the cell inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import check_inside, check_rate, fold_in_name, leaves_with_names
from nlstm_jax.cells.protocol import CellField, complete
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class ZoneoutNoise(NamedTuple):
    """A bundle of the cell's own noise and the zoneout masks.

    Attributes:
        cell: The noise of the cell inside.
        kept: One mask per leaf of the carry, True where a unit keeps its previous value; None where the rate is 0.
    """

    cell: Noise
    kept: tuple[Bool[Array, "*b F"] | None, ...]


@dataclass(frozen=True)
class Zoneout:
    """A cell whose units keep their previous value with some probability, drawn anew at every time step.

        s_t = d_t ⊙ s_{t−1} + (1 − d_t) ⊙ s̃_t      for every vector s of the carry, s̃ the cell's new one

    In training, d is a random mask with the rate of that vector. Without noise (in evaluation), d is the rate itself,
    the expectation of the mask. The output is the resulting h. Zoneout goes around every wrapper that changes the
    memory, and never inside a `Nested`.

    Attributes:
        cell: The single cell to wrap, whose carry has an h.
        rates: One rate for all vectors of the carry, or a carry of rates, such as `LSTMCarry(c=0.5, h=0.05)`.

    Raises:
        ValueError: The cell cannot be wrapped, or a rate is not in [0, 1).

    Source: Krueger et al. 2017, arXiv 1606.01305.

    >>> from nlstm_jax.cells import LSTM, LSTMCarry
    >>> cell = Zoneout(LSTM(4), LSTMCarry(c=0.5, h=0.05))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jnp.ones((2, 3))))
    >>> y.shape
    (2, 4)
    """

    cell: CellField
    rates: Carry | float
    forbids_nesting: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", complete(self.cell))
        check_inside(self, "cell", self.cell)
        for rate in self._rates:
            check_rate(self, "rates", rate)
        if isinstance(self.rates, int | float):
            return

        expected_names = [name for name, _ in leaves_with_names(self._carry_shape)]
        rate_names = [name for name, _ in leaves_with_names(self.rates)]
        if rate_names != expected_names:
            raise ValueError(
                f"Zoneout: rates: a number, or a {type(self._carry_shape).__name__} with a rate for each of "
                f"{', '.join(expected_names)} expected, found {self.rates!r}"
            )

    @property
    def features(self) -> int:
        """The number of hidden units H of the cell."""
        return self.cell.features

    @property
    def out_features(self) -> int:
        """The output width of the cell."""
        return self.cell.out_features

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """Draw the initial parameters of the cell."""
        return self.cell.init(key, in_features)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return the initial carry of the cell."""
        return self.cell.initial_carry(batch_shape)

    def sample_noise(
        self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[Params, ZoneoutNoise | Noise]:
        """Draw the units that keep their previous value, for every time step, and the cell's own noise."""
        if key is None:
            return self.cell.sample_noise(params, None, shape)

        prepared, noise = self.cell.sample_noise(params, fold_in_name(key, "cell"), shape)
        vectors = leaves_with_names(jax.eval_shape(lambda: self.cell.initial_carry(shape[:-1])))
        masks: list[Array | None] = []
        for rate, (name, vector) in zip(self._rates, vectors, strict=True):
            if rate:
                masks.append(jax.random.bernoulli(fold_in_name(key, name), rate, vector.shape))
            else:
                masks.append(None)
        return prepared, ZoneoutNoise(noise, tuple(masks))

    def project(self, params: Params, x: Float[Array, "*b D"]) -> Projected:
        """Compute the input projection of the cell."""
        return self.cell.project(params, x)

    def step(
        self,
        params: Params,
        carry: Carry,
        z: Projected,
        noise: ZoneoutNoise | Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """Compute one step of the cell, and mix the previous and the new carry."""
        mix: Sequence[Array | float | int | None]
        if isinstance(noise, ZoneoutNoise):
            mix = noise.kept
            cell_noise = noise.cell
        else:
            mix = self._rates
            cell_noise = noise
        cell_carry, _ = self.cell.step(params, carry, z, cell_noise, recurrent_input)

        previous_leaves = jax.tree.leaves(carry)
        new_leaves, structure = jax.tree.flatten(cell_carry)
        mixed_leaves = [
            _mix_vector(keep, previous, new)
            for keep, previous, new in zip(mix, previous_leaves, new_leaves, strict=True)
        ]
        mixed_carry = jax.tree.unflatten(structure, mixed_leaves)
        return mixed_carry, mixed_carry.h

    @property
    def _carry_shape(self) -> Carry:
        """The carry of one example, with shapes and dtypes in place of arrays."""
        return jax.eval_shape(lambda: self.cell.initial_carry(()))

    @property
    def _rates(self) -> list[Array | float | int]:
        """The rates of the vectors of the carry, in the order of its leaves."""
        if isinstance(self.rates, int | float):
            return [self.rates] * len(jax.tree.leaves(self._carry_shape))
        return jax.tree.leaves(self.rates)


def _mix_vector(keep: Array | float | int | None, previous: Array, new: Array) -> Array:
    """Mix the previous and the new value of one vector.

    Args:
        keep: A mask that is True where the previous value is kept, or the rate if no mask was drawn. None means that
            no unit keeps its previous value.
        previous: The vector before the step.
        new: The vector after the step.
    """
    is_rate = isinstance(keep, int | float)
    if keep is None or (is_rate and keep == 0):
        return new
    if is_rate:
        return keep * previous + (1 - keep) * new
    return jnp.where(keep, previous, new)
