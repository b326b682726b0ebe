"""A cell under dropout that stays for a sequence.

A wrapped cell has the parameters of the cell inside, under the same names, so noise can be put around weights that
were trained without it, and taken away again. Noise is drawn by `sample_noise` alone: without a key there is none.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import Cell, check_inside, check_rate, dropout_mask, fold_in_name
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class MaskedParams(NamedTuple):
    """The prepared parameters of a `VariationalDropout`; a mask is None where its rate is 0."""

    cell: Params
    inputs: Float[Array, "*b D"] | None
    recurrent: Float[Array, "*b O"] | None


@dataclass(frozen=True)
class VariationalDropout:
    """A cell under dropout whose masks stay the same from a sequence's first step to its last.

        x_t     ⊙ m_x      inputs: one mask a sequence
        h_{t−1} ⊙ m_h      recurrent: one mask a sequence, for the recurrent product alone; the memory stays true
        W_h     ⊙ m_W      weights: one mask for the whole batch (DropConnect)

    Masks are 0, or 1/(1 − rate) where they keep. Inside a `Nested`, x and h are x̃ and σ(f) ⊙ c.

    Attributes:
        cell: a single cell, whose carry has an h; for `weights` its parameters must have a field `w_h`.
        inputs: rate on x.
        recurrent: rate on what the recurrent product reads.
        weights: rate on the recurrent matrix.

    Raises:
        ValueError: a rate that is none, or one on what the cell does not have.

    Sources: Gal & Ghahramani 2016, arXiv 1512.05287 (inputs, recurrent); Merity et al. 2017, arXiv 1708.02182
    (weights).

    >>> from nlstm_jax.cells import LSTM
    >>> cell = VariationalDropout(LSTM(4), recurrent=0.5)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> prepared, noise = cell.sample_noise(params, jax.random.key(1), shape=(5, 2, 3))
    >>> sorted({float(value) for value in prepared.recurrent.ravel()})
    [0.0, 2.0]
    """

    cell: Cell
    inputs: float = 0.0
    recurrent: float = 0.0
    weights: float = 0.0

    def __post_init__(self) -> None:
        check_inside(self, "cell", self.cell)
        for field in ("inputs", "recurrent", "weights"):
            check_rate(self, field, getattr(self, field))
        found = f"found {type(self.cell).__name__}"
        if self.weights and "w_h" not in _parameter_names(self.cell):
            raise ValueError(
                "VariationalDropout: weights: a cell whose parameters have a field w_h expected, "
                f"{found} with {', '.join(_parameter_names(self.cell))}"
            )
        if self.recurrent and not _reads(self.cell):
            raise ValueError(
                f"VariationalDropout: recurrent: a cell whose step uses `recurrent_input` expected, {found}"
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
    ) -> tuple[Params | MaskedParams, Noise]:
        """Draw the masks, put the weights' into the weights, and the cell's own noise."""
        if key is None:
            return self.cell.sample_noise(params, None, shape)
        if self.weights:
            w_h = params.w_h
            params = params._replace(w_h=w_h * dropout_mask(fold_in_name(key, "weights"), self.weights, w_h.shape))
        inputs = recurrent = None
        if self.inputs:
            inputs = dropout_mask(fold_in_name(key, "inputs"), self.inputs, shape[1:])
        if self.recurrent:
            h = jax.eval_shape(lambda: self.cell.initial_carry(shape[1:-1]).h)
            recurrent = dropout_mask(fold_in_name(key, "recurrent"), self.recurrent, h.shape)
        prepared, noise = self.cell.sample_noise(params, fold_in_name(key, "cell"), shape)
        return MaskedParams(prepared, inputs, recurrent), noise

    def project(self, params: Params | MaskedParams, x: Float[Array, "*b D"]) -> Projected:
        """The cell's projection of x ⊙ m_x."""
        if not isinstance(params, MaskedParams):
            return self.cell.project(params, x)
        return self.cell.project(params.cell, x if params.inputs is None else x * params.inputs)

    def step(
        self,
        params: Params | MaskedParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """The cell's step, its recurrent product reading h ⊙ m_h."""
        if not isinstance(params, MaskedParams):
            return self.cell.step(params, carry, z, noise, recurrent_input)
        if params.recurrent is not None:
            recurrent_input = (carry.h if recurrent_input is None else recurrent_input) * params.recurrent
        return self.cell.step(params.cell, carry, z, noise, recurrent_input)


@functools.lru_cache(maxsize=256)
def _parameter_names(cell: Cell) -> tuple[str, ...]:
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    return tuple(getattr(shapes, "_fields", ()))


@functools.lru_cache(maxsize=256)
def _reads(cell: Cell) -> bool:
    """Whether a step uses `recurrent_input` at all."""

    def step(recurrent_input: Array) -> Any:
        params, _ = cell.sample_noise(cell.init(jax.random.key(0), 1), None, (1, 1))
        return cell.step(params, cell.initial_carry(()), cell.project(params, jnp.zeros(1)), (), recurrent_input)

    jaxpr = jax.make_jaxpr(step)(jax.eval_shape(lambda: cell.initial_carry(()).h)).jaxpr
    return any(jaxpr.invars[0] is var for equation in jaxpr.eqns for var in equation.invars)
