"""A wrapper that applies dropout with masks that are constant over a sequence.

A wrapped cell has the same parameters as the cell inside, under the same names. Noise can therefore be added to
weights that were trained without it, and removed again. Only `sample_noise` draws noise. Without a key there is none.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import check_inside, check_rate, dropout_mask, fold_in_name
from nlstm_jax.cells.protocol import Cell, CellField, class_name, complete
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class MaskedParams(NamedTuple):
    """A bundle of the prepared parameters of a `VariationalDropout`.

    Attributes:
        cell: The prepared parameters of the cell inside.
        inputs: The mask of the inputs, None if its rate is 0.
        recurrent: The mask of the recurrent input, None if its rate is 0.
    """

    cell: Params
    inputs: Float[Array, "*b D"] | None
    recurrent: Float[Array, "*b O"] | None


@dataclass(frozen=True)
class VariationalDropout:
    """A cell with dropout masks that are the same at all steps of a sequence.

        x_t     ⊙ m_x      inputs: one mask per sequence
        h_{t−1} ⊙ m_h      recurrent: one mask per sequence, for the recurrent product only; the carry is not masked
        W_h     ⊙ m_W      weights: one mask for the whole batch (DropConnect)

    A mask is 0 where it drops and 1/(1 − rate) where it keeps. Inside a `Nested`, x and h are x̃ and σ(f) ⊙ c.

    Attributes:
        cell: The single cell to wrap, whose carry has an h. For `weights`, its parameters must have a field `w_h`.
        inputs: The dropout rate of the input x.
        recurrent: The dropout rate of the input of the recurrent product.
        weights: The dropout rate of the recurrent matrix W_h.

    Raises:
        ValueError: A rate is not in [0, 1), or the cell has no array that the rate applies to.

    Sources: Gal & Ghahramani 2016, arXiv 1512.05287 (inputs, recurrent); Merity et al. 2017, arXiv 1708.02182
    (weights).

    >>> from nlstm_jax.cells import LSTM
    >>> cell = VariationalDropout(LSTM(4), recurrent=0.5)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> prepared, noise = cell.sample_noise(params, jax.random.key(1), shape=(5, 2, 3))
    >>> sorted({float(value) for value in prepared.recurrent.ravel()})
    [0.0, 2.0]
    """

    cell: CellField
    inputs: float = 0.0
    recurrent: float = 0.0
    weights: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cell", complete(self.cell))
        check_inside(self, "cell", self.cell)
        for field in ("inputs", "recurrent", "weights"):
            check_rate(self, field, getattr(self, field))

        cell_name = class_name(self.cell)
        if self.weights and "w_h" not in _parameter_names(self.cell):
            raise ValueError(
                "VariationalDropout: weights: a cell whose parameters have a field w_h expected, "
                f"found {cell_name} with {', '.join(_parameter_names(self.cell))}"
            )
        if self.recurrent and not _uses_recurrent_input(self.cell):
            raise ValueError(
                f"VariationalDropout: recurrent: a cell whose step uses `recurrent_input` expected, found {cell_name}"
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
    ) -> tuple[Params | MaskedParams, Noise]:
        """Draw the masks and the cell's own noise. The mask of the weights is multiplied into the weights."""
        if key is None:
            return self.cell.sample_noise(params, None, shape)

        if self.weights:
            weight_mask = dropout_mask(fold_in_name(key, "weights"), self.weights, params.w_h.shape)
            params = params._replace(w_h=params.w_h * weight_mask)

        input_mask = None
        if self.inputs:
            input_mask = dropout_mask(fold_in_name(key, "inputs"), self.inputs, shape[1:])

        recurrent_mask = None
        if self.recurrent:
            h = jax.eval_shape(lambda: self.cell.initial_carry(shape[1:-1]).h)
            recurrent_mask = dropout_mask(fold_in_name(key, "recurrent"), self.recurrent, h.shape)

        prepared, noise = self.cell.sample_noise(params, fold_in_name(key, "cell"), shape)
        return MaskedParams(prepared, input_mask, recurrent_mask), noise

    def project(self, params: Params | MaskedParams, x: Float[Array, "*b D"]) -> Projected:
        """Compute the input projection of the cell on x ⊙ m_x."""
        if not isinstance(params, MaskedParams):
            return self.cell.project(params, x)
        if params.inputs is not None:
            x = x * params.inputs
        return self.cell.project(params.cell, x)

    def step(
        self,
        params: Params | MaskedParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """Compute one step of the cell, whose recurrent product uses h ⊙ m_h."""
        if not isinstance(params, MaskedParams):
            return self.cell.step(params, carry, z, noise, recurrent_input)
        if params.recurrent is not None:
            unmasked = carry.h if recurrent_input is None else recurrent_input
            recurrent_input = unmasked * params.recurrent
        return self.cell.step(params.cell, carry, z, noise, recurrent_input)


@functools.lru_cache(maxsize=256)
def _parameter_names(cell: Cell) -> tuple[str, ...]:
    """Return the field names of the cell's parameters."""
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    return tuple(getattr(shapes, "_fields", ()))


@functools.lru_cache(maxsize=256)
def _uses_recurrent_input(cell: Cell) -> bool:
    """Return True if a step of `cell` uses its argument `recurrent_input`."""

    def step(recurrent_input: Array) -> tuple[Carry, Array]:
        params, _ = cell.sample_noise(cell.init(jax.random.key(0), 1), None, (1, 1))
        z = cell.project(params, jnp.zeros(1))
        return cell.step(params, cell.initial_carry(()), z, (), recurrent_input)

    h = jax.eval_shape(lambda: cell.initial_carry(()).h)
    jaxpr = jax.make_jaxpr(step)(h).jaxpr
    recurrent_var = jaxpr.invars[0]
    return any(recurrent_var is var for equation in jaxpr.eqns for var in equation.invars)
