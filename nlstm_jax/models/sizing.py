"""The widths at which a whole model comes nearest to a number of parameters."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

CLOSE = 0.005
"""A projection is changed no further once the model is as near to its budget, as a part of it."""
WIDEST = 1 << 16


class Widths(NamedTuple):
    """The widths that a budget decides.

    Attributes:
        layers: H of each layer of the cell; the first ones may have one unit more than the others.
        projection: the width between cell and softmax; 0 where the model has none that may be chosen.
    """

    layers: tuple[int, ...]
    projection: int

    def __str__(self) -> str:
        cell = f"width {', '.join(map(str, self.layers))}"
        return f"{cell}, projection {self.projection}" if self.projection else cell


def count_model(make: Callable[[], nnx.Module]) -> int:
    """Count the parameters of the model that `make` makes, without drawing them."""
    state = nnx.state(nnx.eval_shape(make), nnx.Param)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))


def fit_widths(
    count: Callable[[Widths], int], budget: int, layers: int = 1, projection: int = 0, *, even: bool = False
) -> Widths:
    """Find the widths at which a model comes nearest to a budget of parameters.

    Layers differ by one unit at the most. A projection keeps the width given where that comes within 0.5 % of the
    budget; if not, it is changed by as little as does, within half and twice its width.

    Args:
        count: the number of parameters of a model of these widths; it must grow with each.
        budget: the number of parameters of the whole model.
        layers: how many layers the cell has.
        projection: the width of the projection to begin with; 0: the model has none that may be chosen.
        even: whether all layers must have one width.

    Raises:
        ValueError: a model of the smallest widths has more parameters, or one of the largest has fewer.

    >>> fit_widths(lambda widths: sum(width * width for width in widths.layers), budget=85, layers=2)
    Widths(layers=(7, 6), projection=0)
    """
    step = layers if even else 1

    def widths(units: int, projected: int = projection) -> Widths:
        base, wider = divmod(units * step, layers)
        return Widths(tuple(base + (index < wider) for index in range(layers)), projected)

    least = layers // step
    smallest = count(widths(least))
    if smallest > budget:
        raise ValueError(f"{smallest:,} parameters or more, those of a cell of width 1, expected, found {budget:,}")
    below, above = least, least + 1
    while count(widths(above)) < budget:
        if above > WIDEST * least:
            raise ValueError(f"a cell of at most {WIDEST:,} units expected, found a budget of {budget:,} parameters")
        below = above
        # The number of parameters grows with the square of the width, or slower.
        above += math.ceil(above * (math.sqrt(budget / count(widths(above))) - 1)) + 1
    while above - below > 1:
        low, high = math.sqrt(count(widths(below))), math.sqrt(count(widths(above)))
        middle = below + round((above - below) * (math.sqrt(budget) - low) / (high - low))
        middle = min(max(middle, below + 1), above - 1)
        below, above = (middle, above) if count(widths(middle)) < budget else (below, middle)
    candidates = [widths(below), widths(above)]
    nearest = min(candidates, key=lambda each: _distance(count(each), budget))
    if not projection or _distance(count(nearest), budget) <= CLOSE * budget:
        return nearest
    candidates = [widths(units, _fit_projection(count, budget, widths(units))) for units in (below, above)]
    close = [each for each in candidates if _distance(count(each), budget) <= CLOSE * budget]
    if close:
        return min(close, key=lambda each: abs(each.projection - projection))
    return min(candidates, key=lambda each: _distance(count(each), budget))


def fit_model(
    make: Callable[[Mapping[str, Any]], nnx.Module], config: Mapping[str, Any], *, projects: bool
) -> tuple[Widths, int]:
    """Find the widths that `config.model.parameters` asks for.

    Args:
        make: a model of a configuration, in which `cell.widths` are those of the layers.
        config: the configuration.
        projects: whether the model has a projection whose width may be chosen.

    Returns:
        The widths, and the number of parameters of the model that has them.

    Raises:
        ValueError: as `fit_widths`.
    """
    cell = config["cell"]

    def count(widths: Widths) -> int:
        return count_model(lambda: make(resize(config, widths)))

    projection = config["model"]["projection"] if projects else 0
    widths = fit_widths(
        functools.cache(count),
        config["model"]["parameters"],
        cell["layers"],
        projection,
        # The sum of a layer's input and output needs both to have one width.
        even=bool(cell["residual"]),
    )
    return widths, count(widths)


def resize(config: Mapping[str, Any], widths: Widths) -> dict[str, Any]:
    """A configuration with these widths in the place of its budget."""
    cell = {**config["cell"], "widths": widths.layers}
    model = {**config["model"], "parameters": 0}
    if widths.projection:
        model["projection"] = widths.projection
    return {**config, "cell": cell, "model": model}


def _fit_projection(count: Callable[[Widths], int], budget: int, widths: Widths) -> int:
    """The width of the projection at which a model with these layers comes nearest to the budget."""
    lowest = (widths.projection + 1) // 2
    highest = 2 * widths.projection
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        if count(widths._replace(projection=middle)) < budget:
            lowest = middle
        else:
            highest = middle
    return min((lowest, highest), key=lambda width: _distance(count(widths._replace(projection=width)), budget))


def _distance(count: int, budget: int) -> int:
    return abs(count - budget)


def cache_key(config: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """What the widths depend on, as text."""
    decisive = {name: config[name] for name in ("task", "cell", "model")}
    return json.dumps([decisive, dict(sizes)], sort_keys=True, default=list)
