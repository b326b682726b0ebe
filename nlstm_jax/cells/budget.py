"""What a cell costs, and how wide it may be for that: equal cost is the basis of comparison."""

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
    """The number of parameters of `cell`, or another layer, on `in_features` inputs.

    >>> from nlstm_jax.cells import LSTM, nested_lstm
    >>> count_parameters(LSTM(128), in_features=1), count_parameters(nested_lstm(40, depth=2), in_features=1)
    (66560, 19680)
    """
    params = jax.eval_shape(lambda key: cell.init(key, in_features), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_flops(cell: Cell, in_features: int) -> int:
    """The floating-point operations of the matrix products of one step on one sequence, forward.

    A multiplication and an addition are two; what is element-wise is not counted. The step back has twice as many.

    >>> from nlstm_jax.cells import LSTM
    >>> count_flops(LSTM(128), in_features=1) == 2 * 4 * 128 * (1 + 128)
    True
    """

    def step(key: PRNGKeyArray) -> Any:
        params = cell.init(key, in_features)
        return cell.step(params, cell.initial_carry((1,)), cell.project(params, jnp.zeros((1, in_features))))

    return _products(jax.make_jaxpr(step)(jax.random.key(0)).jaxpr)


def count_state(cell: Layer) -> int:
    """The numbers that `cell`, or another layer, carries from step to step for one sequence.

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
"""What cells can be made equal in."""


def fit_features(
    make_cell: Callable[[int], Any],
    in_features: int,
    parameters: int = 0,
    *,
    operations: int = 0,
    state: int = 0,
    decoder_in_features: Callable[[Any], int] | None = None,
) -> int:
    """The width H at which `make_cell(H)` comes nearest to a budget; one of the three is to be given.

    Args:
        make_cell: a cell of a given width; what is counted must grow with the width.
        in_features: The number of input features, D.
        parameters: as `count_parameters` counts.
        operations: as `count_flops` counts.
        state: as `count_state` counts.
        decoder_in_features: where a second cell of the same kind and width takes over the first one's carry (a
            decoder), the D that it reads; its parameters and operations count too.

    Raises:
        ValueError: no budget or several, or no width comes within 1 %.

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
