"""Find the widths that bring the parameter count of a whole model closest to a budget."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from flax import nnx

from nlstm_jax.types import Config, JsonObject

CLOSE = 0.005
"""The largest relative distance to the budget at which the width of a projection is not changed further."""

WIDEST = 1 << 16
"""The largest width of a cell that is tried."""


class Widths(NamedTuple):
    """A choice of the widths that a budget determines.

    Attributes:
        layers: The number of hidden units H of each layer of the cell. The first layers may have one unit more than
            the others.
        projection: The width of the projection between cell and softmax, or 0 if the model has no projection whose
            width can be chosen.
    """

    layers: tuple[int, ...]
    projection: int

    def __str__(self) -> str:
        text = f"width {', '.join(map(str, self.layers))}"
        if self.projection:
            text += f", projection {self.projection}"
        return text


def count_model(make: Callable[[], nnx.Module]) -> int:
    """Count the parameters of the model that `make` builds, without drawing initial values."""
    state = nnx.state(nnx.eval_shape(make), nnx.Param)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))


def fit_widths(
    count: Callable[[Widths], int],
    budget: int,
    layers: int = 1,
    projection: int = 0,
    *,
    even: bool = False,
    start: Widths | None = None,
) -> Widths:
    """Find the widths that bring the parameter count of a model closest to a budget.

    The widths of the layers differ by at most one unit. A projection keeps its initial width if that comes within
    0.5 % of the budget. Otherwise its width is changed by the smallest amount that does, between half and twice the
    initial width.

    Args:
        count: The function that returns the parameter count of a model with given widths. The count must grow with
            each width.
        budget: The desired number of parameters of the whole model.
        layers: The number of layers of the cell.
        projection: The initial width of the projection, or 0 if the model has no projection whose width can be chosen.
        even: True if all layers must have the same width.
        start: The widths that are tried first, e.g. those of a similar model. They change the speed alone.

    Raises:
        ValueError: The model with the smallest widths has more parameters, or the one with the largest has fewer.

    >>> fit_widths(lambda widths: sum(width * width for width in widths.layers), budget=85, layers=2)
    Widths(layers=(7, 6), projection=0)
    """
    units_per_step = layers if even else 1

    def widths_at(size: int, projected: int = projection) -> Widths:
        """Distribute `size` steps of units over the layers."""
        base, wider_layers = divmod(size * units_per_step, layers)
        return Widths(tuple(base + (index < wider_layers) for index in range(layers)), projected)

    def distance(widths: Widths) -> int:
        return _distance(count(widths), budget)

    smallest = layers // units_per_step
    smallest_count = count(widths_at(smallest))
    if smallest_count > budget:
        raise ValueError(
            f"{smallest_count:,} parameters or more, those of a cell of width 1, expected, found {budget:,}"
        )

    first = sum(start.layers) // units_per_step if start else 0
    below, above = _bracket_budget(lambda size: count(widths_at(size)), budget, smallest, first)
    candidates = [widths_at(below), widths_at(above)]
    nearest = min(candidates, key=distance)
    if not projection or distance(nearest) <= CLOSE * budget:
        return nearest

    candidates = [widths_at(size, _fit_projection(count, budget, widths_at(size))) for size in (below, above)]
    close = [widths for widths in candidates if distance(widths) <= CLOSE * budget]
    if close:
        return min(close, key=lambda widths: abs(widths.projection - projection))
    return min(candidates, key=distance)


def _bracket_budget(count_at: Callable[[int], int], budget: int, smallest: int, first: int) -> tuple[int, int]:
    """Find two consecutive sizes, the first below the budget (or `smallest`), the second at or above it.

    Args:
        count_at: The function that returns the parameter count at a size. The count must grow with the size.
        budget: The desired number of parameters.
        smallest: The smallest size, whose count is not above the budget.
        first: The size that is tried first, or 0.

    Raises:
        ValueError: The budget needs a cell of more than `WIDEST` units.
    """
    if first > smallest:
        below = first if count_at(first) < budget else first - 1
        if count_at(below) < budget <= count_at(below + 1):
            return below, below + 1

    below = smallest
    above = smallest + 1
    while count_at(above) < budget:
        if above > WIDEST * smallest:
            raise ValueError(f"a cell of at most {WIDEST:,} units expected, found a budget of {budget:,} parameters")
        below = above
        # The count grows at most with the square of the width, so this step does not go far beyond the budget.
        above += math.ceil(above * (math.sqrt(budget / count_at(above)) - 1)) + 1

    # Interpolate between the square roots of the counts, which are nearly linear in the width.
    while above - below > 1:
        low = math.sqrt(count_at(below))
        high = math.sqrt(count_at(above))
        middle = below + round((above - below) * (math.sqrt(budget) - low) / (high - low))
        middle = min(max(middle, below + 1), above - 1)
        if count_at(middle) < budget:
            below = middle
        else:
            above = middle
    return below, above


def fit_model(
    make: Callable[[Config], nnx.Module], config: Config, *, projects: bool, start: Widths | None = None
) -> tuple[Widths, int]:
    """Find the widths that match the budget `config.model.parameters`.

    Args:
        make: The function that builds the model of a configuration, with the widths of the layers in `cell.widths`.
        config: The configuration with the budget.
        projects: True if the model has a projection whose width can be chosen.
        start: The widths that are tried first, see `fit_widths`.

    Returns:
        The widths, and the number of parameters of the model with these widths.

    Raises:
        ValueError: No widths match the budget, see `fit_widths`.
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
        # A residual connection adds the input and the output of a layer, so both must have the same width.
        even=bool(cell["residual"]),
        start=start,
    )
    return widths, count(widths)


def resize(config: Config, widths: Widths) -> JsonObject:
    """Return a copy of a configuration with the given widths in place of its budget."""
    cell = {**config["cell"], "widths": widths.layers}
    model = {**config["model"], "parameters": 0}
    if widths.projection:
        model["projection"] = widths.projection
    return {**config, "cell": cell, "model": model}


def _fit_projection(count: Callable[[Widths], int], budget: int, widths: Widths) -> int:
    """Find the width of the projection that brings the parameter count closest to the budget, for fixed layers."""
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
    """Return the distance of a parameter count from the budget."""
    return abs(count - budget)


def cache_key(config: Config, model_dims: Mapping[str, int]) -> str:
    """Return a text that identifies the result of `fit_model`: everything that the widths depend on."""
    sections = {name: config[name] for name in ("task", "cell", "model")}
    return json.dumps([sections, dict(model_dims)], sort_keys=True, default=list)
