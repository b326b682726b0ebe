"""Cells that wrap a cell with noise: dropout that stays for a sequence, and zoneout.

A wrapped cell has the parameters of the cell inside, under the same names, so noise can be put around weights that
were trained without it, and taken away again. Noise is drawn by `prepare` alone: without a key there is none.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import Cell, check_inside, check_rate, dropout_mask, named_key
from nlstm_jax.cells.nested import Nested
from nlstm_jax.types import Array, Bool, Carry, Float, Noise, Params, PRNGKeyArray, Projected


class DroppedParams(NamedTuple):
    """The prepared parameters of a `SequenceDropout`; a mask is None where its rate is 0."""

    cell: Params
    inputs: Float[Array, "*b D"] | None
    recurrent: Float[Array, "*b O"] | None


@dataclass(frozen=True)
class SequenceDropout:
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
    >>> cell = SequenceDropout(LSTM(4), recurrent=0.5)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> prepared, noise = cell.prepare(params, jax.random.key(1), shape=(5, 2, 3))
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
                "SequenceDropout: weights: a cell whose parameters have a field w_h expected, "
                f"{found} with {', '.join(_parameter_names(self.cell))}"
            )
        if self.recurrent and not _reads(self.cell):
            raise ValueError(f"SequenceDropout: recurrent: a cell whose step uses `read` expected, {found}")

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

    def prepare(
        self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[Params | DroppedParams, Noise]:
        """Draw the masks, put the weights' into the weights, and the cell's own noise."""
        if key is None:
            return self.cell.prepare(params, None, shape)
        if self.weights:
            w_h = params.w_h
            params = params._replace(w_h=w_h * dropout_mask(named_key(key, "weights"), self.weights, w_h.shape))
        inputs = recurrent = None
        if self.inputs:
            inputs = dropout_mask(named_key(key, "inputs"), self.inputs, shape[1:])
        if self.recurrent:
            h = jax.eval_shape(lambda: self.cell.initial_carry(shape[1:-1]).h)
            recurrent = dropout_mask(named_key(key, "recurrent"), self.recurrent, h.shape)
        prepared, noise = self.cell.prepare(params, named_key(key, "cell"), shape)
        return DroppedParams(prepared, inputs, recurrent), noise

    def project(self, params: Params | DroppedParams, x: Float[Array, "*b D"]) -> Projected:
        """The cell's projection of x ⊙ m_x."""
        if not isinstance(params, DroppedParams):
            return self.cell.project(params, x)
        return self.cell.project(params.cell, x if params.inputs is None else x * params.inputs)

    def step(
        self,
        params: Params | DroppedParams,
        carry: Carry,
        z: Projected,
        noise: Noise = (),
        read: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """The cell's step, its recurrent product reading h ⊙ m_h."""
        if not isinstance(params, DroppedParams):
            return self.cell.step(params, carry, z, noise, read)
        if params.recurrent is not None:
            read = (carry.h if read is None else read) * params.recurrent
        return self.cell.step(params.cell, carry, z, noise, read)


@functools.lru_cache(maxsize=256)
def _parameter_names(cell: Cell) -> tuple[str, ...]:
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    return tuple(getattr(shapes, "_fields", ()))


@functools.lru_cache(maxsize=256)
def _reads(cell: Cell) -> bool:
    """Whether a step uses `read` at all."""

    def step(read: Array) -> Any:
        params, _ = cell.prepare(cell.init(jax.random.key(0), 1), None, (1, 1))
        return cell.step(params, cell.initial_carry(()), cell.project(params, jnp.zeros(1)), (), read)

    jaxpr = jax.make_jaxpr(step)(jax.eval_shape(lambda: cell.initial_carry(()).h)).jaxpr
    return any(jaxpr.invars[0] is var for equation in jaxpr.eqns for var in equation.invars)


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
    outermost: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_inside(self, "cell", self.cell)
        for rate in self._rates:
            check_rate(self, "rates", rate)
        expected = [name for name, _ in _vectors(self._carry_shape)]
        if not isinstance(self.rates, int | float) and [name for name, _ in _vectors(self.rates)] != expected:
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

    def prepare(
        self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[Params, ZoneoutNoise | Noise]:
        """Draw, for every time step, which units keep their old value; and the cell's own noise."""
        if key is None:
            return self.cell.prepare(params, None, shape)
        prepared, noise = self.cell.prepare(params, named_key(key, "cell"), shape)
        vectors = _vectors(jax.eval_shape(lambda: self.cell.initial_carry(shape[:-1])))
        kept = tuple(
            jax.random.bernoulli(named_key(key, name), rate, vector.shape) if rate else None
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
        read: Float[Array, "*b O"] | None = None,
    ) -> tuple[Carry, Float[Array, "*b O"]]:
        """The cell's step, then old and new mixed."""
        drawn = isinstance(noise, ZoneoutNoise)
        stepped, _ = self.cell.step(params, carry, z, noise.cell if drawn else noise, read)
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


def regularised(
    cell: Cell,
    *,
    input_dropout: Sequence[float] = (0.0,),
    recurrent_dropout: Sequence[float] = (0.0,),
    weight_drop: Sequence[float] = (0.0,),
    zoneout: Sequence[float] = (0.0,),
) -> Cell:
    """`cell` under the noise of these rates, level by level; the cell itself where all are 0.

    Args:
        cell: a single cell.
        input_dropout, recurrent_dropout, weight_drop: a rate for every level of nesting, outermost first, or one for
            all of them.
        zoneout: a rate for every vector of the carry, h first, then the memories, outermost first; or one for all.

    Raises:
        ValueError: another number of rates, or a rate that is not in [0, 1).

    >>> from nlstm_jax.cells import nested_lstm
    >>> regularised(nested_lstm(4, depth=2), recurrent_dropout=(0.25,), zoneout=(0.1, 0.0, 0.2)).rates
    NestedCarry(h=0.1, inner=LSTMCarry(c=0.2, h=0.0))
    """
    levels = _levels(cell)
    what = "levels of nesting, outermost first"
    named = {"input_dropout": input_dropout, "recurrent_dropout": recurrent_dropout, "weight_drop": weight_drop}
    by_level = zip(*(_spread(name, rates, levels, what) for name, rates in named.items()), strict=True)
    wrapped = _dropped(cell, list(by_level))
    shape = jax.eval_shape(lambda: cell.initial_carry(()))
    vectors = len(jax.tree.leaves(shape))
    rates = _spread("zoneout", zoneout, vectors, "vectors of the carry: h, then the memories, outermost first")
    return Zoneout(wrapped, _carry_of(shape, iter(rates))) if any(rates) else wrapped


def _levels(cell: Cell) -> int:
    return 1 + _levels(cell.inner) if isinstance(cell, Nested) else 1


def _dropped(cell: Cell, rates: Sequence[Sequence[float]]) -> Cell:
    """Every level in a `SequenceDropout` of its rates, where there are any."""
    if isinstance(cell, Nested):
        cell = dataclasses.replace(cell, inner=_dropped(cell.inner, rates[1:]))
    return SequenceDropout(cell, *rates[0]) if any(rates[0]) else cell


def _spread(name: str, rates: Sequence[float], count: int, what: str) -> Sequence[float]:
    if len(rates) not in (1, count):
        raise ValueError(f"{name}: 1 rate, or {count} for the {count} {what}, expected, found {tuple(rates)}")
    return [*rates] * count if len(rates) == 1 else rates


def _carry_of(shape: Any, rates: Any) -> Any:
    """A carry of rates, h first, then what stands beside it, and so on inwards."""
    if not hasattr(shape, "_fields"):
        return next(rates)
    order = sorted(shape._fields, key=lambda field: field != "h")
    return type(shape)(**{field: _carry_of(getattr(shape, field), rates) for field in order})


def _vectors(carry: Carry) -> list[tuple[str, Any]]:
    """The leaves of a carry by name, e.g. `inner.c`."""
    return [(jax.tree_util.keystr(path)[1:], leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(carry)]
