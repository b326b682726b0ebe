"""A cell with the noise that a configuration asks for, level by level."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from nlstm_jax.cells.base import Cell
from nlstm_jax.cells.dropout import VariationalDropout
from nlstm_jax.cells.nested import Nested
from nlstm_jax.cells.zoneout import Zoneout


def with_regularizers(
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
    >>> with_regularizers(nested_lstm(4, depth=2), recurrent_dropout=(0.25,), zoneout=(0.1, 0.0, 0.2)).rates
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
    """Every level in a `VariationalDropout` of its rates, where there are any."""
    if isinstance(cell, Nested):
        cell = dataclasses.replace(cell, inner=_dropped(cell.inner, rates[1:]))
    return VariationalDropout(cell, *rates[0]) if any(rates[0]) else cell


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
