"""L1 and L2 penalties and max-norm constraints on a cell's parameters, by group and level of nesting, through optax.

A penalty is minimized with the loss, but is part of no loss that is reported: its gradient is added before clipping
and the optimizer's rule. A constraint holds after every step.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import jax.numpy as jnp
import optax

from nlstm_jax.errors import ConfigError
from nlstm_jax.models import Parameters, is_recurrent
from nlstm_jax.types import Array

Groups: TypeAlias = Mapping[str, tuple[str, ...]]
"""The last parts of the names of parameters, by the name of their group."""

GROUPS = {"input_kernel": ("w_x",), "recurrent_kernel": ("w_h",), "bias": ("b", "b_n")}
JOINT_KERNEL = {"joint_kernel": ("w_x", "w_h")}
"""The group of parameters whose columns are one column of a constraint."""
KINDS = ("l1", "l2", "max_norm")

Rule: TypeAlias = Callable[[Array, Array, float], Array]
"""(gradient or update, parameter, value) → gradient or update."""


def before(options: Mapping[str, Sequence[float]]) -> list[optax.GradientTransformation]:
    """Return the transformations of the gradient: + λ sign(w) for Σ λ|w| (l1), + 2 λ w for Σ λw² (l2)."""
    rules = {
        "l1": lambda gradient, w, rate: gradient + rate * jnp.sign(w),
        "l2": lambda gradient, w, rate: gradient + 2 * rate * w,
    }
    return [_by_name(options, kind, rule) for kind, rule in rules.items() if _wanted(options, kind)]


def after(options: Mapping[str, Sequence[float]]) -> list[optax.GradientTransformation]:
    """Return the transformations of the update that keep each column, the weights into a unit, within its norm.

    The second one keeps the column of both kernels of a level within one norm, as a layer does that has both in one
    matrix.
    """

    def within(update: Array, w: Array, limit: float) -> Array:
        moved = w + update
        return moved * _factor(jnp.sum(jnp.square(moved), axis=0, keepdims=True), limit) - w

    transformations = []
    if _wanted(options, "max_norm"):
        transformations.append(_by_name(options, "max_norm", within))
    if _wanted(options, "max_norm", JOINT_KERNEL):
        transformations.append(_joint_max_norm(options))
    return transformations


def _joint_max_norm(options: Mapping[str, Sequence[float]]) -> optax.GradientTransformation:
    """Return the constraint on the columns of W_x and W_h together, of every level of every cell."""

    def init(parameters: Mapping[str, Array]) -> optax.EmptyState:
        list(_values(options, "max_norm", parameters, JOINT_KERNEL))
        return optax.EmptyState()

    def transform(
        updates: Parameters, state: optax.EmptyState, parameters: Parameters | None = None
    ) -> tuple[Parameters, optax.EmptyState]:
        assert parameters is not None
        limits = dict(_values(options, "max_norm", updates, JOINT_KERNEL))
        moved = {name: parameters[name] + updates[name] for name in limits}
        squares: dict[str, Array] = {}
        for name, kernel in moved.items():
            cell = name.rpartition("/")[0]
            squares[cell] = squares.get(cell, 0) + jnp.sum(jnp.square(kernel), axis=0, keepdims=True)

        changed = {}
        for name, limit in limits.items():
            factor = _factor(squares[name.rpartition("/")[0]], limit)
            changed[name] = moved[name] * factor - parameters[name]
        return {**updates, **changed}, state

    return optax.GradientTransformation(init, transform)


def _factor(squares: Array, limit: float) -> Array:
    """Return the factor that brings columns with these sums of squares within a norm."""
    norm = jnp.sqrt(squares)
    return jnp.minimum(1, limit / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))


def _wanted(options: Mapping[str, Sequence[float]], kind: str, groups: Groups = GROUPS) -> bool:
    """Return True if some value is > 0, or is in a list whose length is to be checked."""
    return any(len(values) > 1 or any(values) for values in (options.get(f"{kind}_{group}", ()) for group in groups))


def _by_name(options: Mapping[str, Sequence[float]], kind: str, rule: Rule) -> optax.GradientTransformation:
    """Apply `rule(update, parameter, value)` to every parameter that has a value > 0; the others pass."""

    def init(parameters: Mapping[str, Array]) -> optax.EmptyState:
        list(_values(options, kind, parameters))
        return optax.EmptyState()

    def transform(
        updates: Parameters, state: optax.EmptyState, parameters: Parameters | None = None
    ) -> tuple[Parameters, optax.EmptyState]:
        assert parameters is not None
        changed = {
            name: rule(updates[name], parameters[name], value) for name, value in _values(options, kind, updates)
        }
        return {**updates, **changed}, state

    return optax.GradientTransformation(init, transform)


def _values(
    options: Mapping[str, Sequence[float]], kind: str, names: Iterable[str], groups: Groups = GROUPS
) -> Iterator[tuple[str, float]]:
    """Yield (parameter name, value) for every parameter that has a value > 0.

    Raises:
        ConfigError: a group without parameters, or another number of values than levels of nesting.
    """
    for group, fields in groups.items():
        values = options.get(f"{kind}_{group}", ())
        if not values:
            continue
        setting = f"config.penalty.{kind}_{group}"
        # The level of a parameter is how often its path goes inwards.
        levels = {
            name: name.split("/").count("inner")
            for name in names
            if is_recurrent(name) and name.rpartition("/")[2] in fields
        }
        if not levels and any(values):
            raise ConfigError(f"{setting}: a cell with parameters named {' or '.join(fields)} expected, found none")
        depth = max(levels.values(), default=0) + 1
        if len(values) not in (1, depth):
            raise ConfigError(f"{setting}: 1 value, or one for each of {depth} levels, expected, found {len(values)}")
        for name, level in levels.items():
            value = values[0] if len(values) == 1 else values[level]
            if value:
                yield name, value
