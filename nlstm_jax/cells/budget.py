"""How many parameters a cell has, and how wide it may be for a given number: equal cost is the basis of comparison."""

import math
from collections.abc import Callable

import jax

from nlstm_jax.cells.base import Layer

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


def fit_features(make_cell: Callable[[int], Layer], in_features: int, parameters: int) -> int:
    """The width H at which `make_cell(H)` comes nearest to `parameters`.

    Args:
        make_cell: a cell of a given width; its number of parameters must grow with the width.
        in_features: D.
        parameters: the number wanted.

    Raises:
        ValueError: no width comes within 1 %.

    >>> from nlstm_jax.cells import LSTM
    >>> fit_features(LSTM, in_features=1, parameters=66_560)
    128
    """

    def count(width: int) -> int:
        return count_parameters(make_cell(width), in_features)

    below, above = 0, 1
    while count(above) < parameters and above < _WIDEST:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if count(middle) < parameters else (below, middle)
    nearest = min((width for width in (below, above) if width), key=lambda width: abs(count(width) - parameters))
    if abs(count(nearest) - parameters) > TOLERANCE * parameters:
        raise ValueError(
            f"no width of this cell comes within {TOLERANCE:.0%} of {parameters:,} parameters: the nearest, "
            f"{nearest}, has {count(nearest):,}"
        )
    return nearest
