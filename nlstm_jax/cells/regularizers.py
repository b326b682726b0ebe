"""Wrap the levels of a cell in dropout and zoneout, with a rate for every level."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax

from nlstm_jax.cells.dropout import VariationalDropout
from nlstm_jax.cells.nested import Nested
from nlstm_jax.cells.protocol import Cell
from nlstm_jax.cells.zoneout import Zoneout
from nlstm_jax.types import Carry


def with_regularizers(
    cell: Cell,
    *,
    input_dropout: Sequence[float] = (0.0,),
    recurrent_dropout: Sequence[float] = (0.0,),
    weight_drop: Sequence[float] = (0.0,),
    zoneout: Sequence[float] = (0.0,),
) -> Cell:
    """Wrap the levels of `cell` in noise with the given rates. Return the cell itself if all rates are 0.

    Args:
        cell: The single cell to wrap.
        input_dropout: The dropout rates of the inputs, one for every level of nesting, outermost first, or a single
            rate for all levels.
        recurrent_dropout: The dropout rates of the recurrent inputs, in the same form.
        weight_drop: The dropout rates of the recurrent matrices, in the same form.
        zoneout: The zoneout rates, one for every vector of the carry: h first, then the memories, outermost first. Or
            a single rate for all vectors.

    Raises:
        ValueError: The number of rates is wrong, or a rate is not in [0, 1).

    >>> from nlstm_jax.cells import nested_lstm
    >>> with_regularizers(nested_lstm(4, depth=2), recurrent_dropout=(0.25,), zoneout=(0.1, 0.0, 0.2)).rates
    NestedCarry(h=0.1, inner=LSTMCarry(c=0.2, h=0.0))
    """
    levels = _count_levels(cell)
    level_description = "levels of nesting, outermost first"
    input_rates = _expand_rates("input_dropout", input_dropout, levels, level_description)
    recurrent_rates = _expand_rates("recurrent_dropout", recurrent_dropout, levels, level_description)
    weight_rates = _expand_rates("weight_drop", weight_drop, levels, level_description)
    wrapped = _with_dropout(cell, list(zip(input_rates, recurrent_rates, weight_rates, strict=True)))

    carry_shape = jax.eval_shape(lambda: cell.initial_carry(()))
    vectors = len(jax.tree.leaves(carry_shape))
    vector_description = "vectors of the carry: h, then the memories, outermost first"
    zoneout_rates = _expand_rates("zoneout", zoneout, vectors, vector_description)
    if not any(zoneout_rates):
        return wrapped
    return Zoneout(wrapped, _rates_as_carry(carry_shape, iter(zoneout_rates)))


def _count_levels(cell: Cell) -> int:
    """Return the number of levels of nesting, 1 for a cell that is not nested."""
    if isinstance(cell, Nested):
        return 1 + _count_levels(cell.inner)
    return 1


def _with_dropout(cell: Cell, rates: Sequence[Sequence[float]]) -> Cell:
    """Wrap every level that has a rate > 0 in a `VariationalDropout`.

    Args:
        cell: The cell to wrap.
        rates: The rates (inputs, recurrent, weights) of every level, outermost first.
    """
    if isinstance(cell, Nested):
        cell = dataclasses.replace(cell, inner=_with_dropout(cell.inner, rates[1:]))
    if not any(rates[0]):
        return cell
    return VariationalDropout(cell, *rates[0])


def _expand_rates(name: str, rates: Sequence[float], count: int, description: str) -> Sequence[float]:
    """Return `count` rates, from as many rates or from a single one.

    Raises:
        ValueError: There are neither 1 nor `count` rates.
    """
    if len(rates) not in (1, count):
        raise ValueError(f"{name}: 1 rate, or {count} for the {count} {description}, expected, found {tuple(rates)}")
    if len(rates) == 1:
        return [*rates] * count
    return rates


def _rates_as_carry(shape: Carry, rates: Iterator[float]) -> Carry:
    """Arrange rates in the structure of a carry. On every level h takes its rate before the other fields."""
    if not hasattr(shape, "_fields"):
        return next(rates)
    fields = sorted(shape._fields, key=lambda field: field != "h")
    values = {field: _rates_as_carry(getattr(shape, field), rates) for field in fields}
    return type(shape)(**values)
