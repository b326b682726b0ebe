"""The cost of a cell, and the width at which a cell has a given cost."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import Cell, Layer
from nlstm_jax.types import PRNGKeyArray

TOLERANCE = 0.01
_WIDEST = 1 << 20


def count_parameters(cell: Layer, in_features: int) -> int:
    """Return the number of parameters of a layer. No initial values are drawn.

    Args:
        cell: The cell or layer.
        in_features: The number of input features, D.

    >>> from nlstm_jax.cells import LSTM, nested_lstm
    >>> count_parameters(LSTM(128), in_features=1), count_parameters(nested_lstm(40, depth=2), in_features=1)
    (66560, 19680)
    """
    params = jax.eval_shape(lambda key: cell.init(key, in_features), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_flops(cell: Cell, in_features: int) -> int:
    """Return the number of floating-point operations of one forward step on one sequence.

    Only matrix products are counted; a multiplication and an addition are two operations. The backward step has twice
    as many.

    Args:
        cell: The cell.
        in_features: The number of input features, D.

    >>> from nlstm_jax.cells import LSTM
    >>> count_flops(LSTM(128), in_features=1) == 2 * 4 * 128 * (1 + 128)
    True
    """

    def step(key: PRNGKeyArray) -> Any:
        params = cell.init(key, in_features)
        return cell.step(params, cell.initial_carry((1,)), cell.project(params, jnp.zeros((1, in_features))))

    return _products(jax.make_jaxpr(step)(jax.random.key(0)).jaxpr)


def count_state(cell: Layer) -> int:
    """Return the number of values that a layer carries from step to step for one sequence.

    >>> from nlstm_jax.cells import LSTM, nested_lstm
    >>> count_state(LSTM(128)), count_state(nested_lstm(40, depth=2))
    (256, 120)
    """
    carry = jax.eval_shape(lambda: cell.initial_carry((1,)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(carry))


BUDGETS: dict[str, Callable[[Any, int], int]] = {
    "parameters": count_parameters,
    "operations": count_flops,
    "state": lambda cell, in_features: count_state(cell),
}
"""The functions that count parameters, operations and carried values, by the names of `fit_features`."""


def fit_features(
    make_cell: Callable[[int], Any],
    in_features: int,
    parameters: int = 0,
    *,
    operations: int = 0,
    state: int = 0,
    decoder_in_features: Callable[[Any], int] | None = None,
) -> int:
    """Return the width H at which `make_cell(H)` comes nearest to a budget. Exactly one of three budgets is given.

    Args:
        make_cell: The function that makes a cell of a given width. What is counted must grow with the width.
        in_features: The number of input features, D.
        parameters: The number of parameters, see `count_parameters`.
        operations: The number of operations per step, see `count_flops`.
        state: The number of carried values, see `count_state`.
        decoder_in_features: The number of input features of a second cell of the same kind and width (a decoder),
            whose parameters and operations count too; None: there is no second cell.

    Raises:
        ValueError: There is no budget or several, or no width comes within 1 %.

    >>> from nlstm_jax.cells import LSTM
    >>> fit_features(LSTM, in_features=1, parameters=66_560), fit_features(LSTM, in_features=1, state=256)
    (128, 128)
    """
    given = {"parameters": parameters, "operations": operations, "state": state}
    wanted = {name: number for name, number in given.items() if number}
    if len(wanted) != 1:
        raise ValueError(f"fit_features: one of {', '.join(given)} expected, found {', '.join(wanted) or 'none'}")
    ((name, budget),) = wanted.items()

    def count(width: int) -> int:
        cell = make_cell(width)
        own = BUDGETS[name](cell, in_features)
        return (
            own
            if decoder_in_features is None or name == "state"
            else own + BUDGETS[name](cell, decoder_in_features(cell))
        )

    below, above = 0, 1
    while count(above) < budget and above < _WIDEST:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if count(middle) < budget else (below, middle)
    nearest = min((width for width in (below, above) if width), key=lambda width: abs(count(width) - budget))
    if abs(count(nearest) - budget) > TOLERANCE * budget:
        of = {"parameters": "parameters", "operations": "operations a step", "state": "numbers of state"}[name]
        raise ValueError(
            f"no width of this cell comes within {TOLERANCE:.0%} of {budget:,} {of}: the nearest, {nearest}, has "
            f"{count(nearest):,}"
        )
    return nearest


def _products(jaxpr: Any) -> int:
    """Operations of all matrix products of a jaxpr, and of those within."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += _products(inner) if hasattr(inner, "eqns") else 0
    return total
