"""Sums and their weights, as which losses and metrics travel, so that means over ragged data are exact."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Array, Float, PyTree


class WeightedSum(NamedTuple):
    """A sum over targets and the weight to divide it by. Their ratio is a mean.

    Attributes:
        sum: The sum over the targets.
        weight: The number of targets, or the sum of their weights.
    """

    sum: Float[Array, ""]
    weight: Float[Array, ""]


def to_means(totals: Mapping[str, Mapping[str, WeightedSum]]) -> dict[str, dict[str, float]]:
    """Divide every sum by its weight. A sum of weight 0, over no target at all, has no mean and is left out.

    Args:
        totals: The sums by split and name.

    Returns:
        The means by split and name.

    >>> to_means({"valid": {"log_loss": WeightedSum(jnp.array(6.0), jnp.array(4.0))}})
    {'valid': {'log_loss': 1.5}}
    """
    means = {}
    for split, sums in totals.items():
        means[split] = {name: float(total.sum / total.weight) for name, total in sums.items() if total.weight}
    return means


def check_sum(owner: str, value: object) -> WeightedSum:
    """Return what a task has returned as its loss, if it is a `WeightedSum` of two scalars.

    Args:
        owner: The class and the method, as the error message names them.
        value: The value.

    Raises:
        ConfigError: It is anything else.
    """
    if not isinstance(value, WeightedSum):
        raise ConfigError(f"{owner}: a WeightedSum expected, found {_describe(value)}")
    for name, part in value._asdict().items():
        if jnp.shape(part) != ():
            raise ConfigError(f"{owner}: {name}: a scalar expected, found {_describe(part)}")
    return value


def check_sums(owner: str, value: object) -> dict[str, WeightedSum]:
    """Return what a task has returned as its metrics, if it is a dict of `WeightedSum`. See `check_sum`."""
    if not isinstance(value, dict):
        raise ConfigError(f"{owner}: a dict of WeightedSum expected, found {_describe(value)}")
    return {name: check_sum(f"{owner}: {name!r}", total) for name, total in value.items()}


def check_loss_and_carry(owner: str, value: object) -> tuple[WeightedSum, PyTree]:
    """Return what a task's `train_loss` has returned, if it is a loss and a carry. See `check_sum`."""
    loss, carry = _check_pair(owner, value)
    return check_sum(owner, loss), carry


def check_sums_and_carry(owner: str, value: object) -> tuple[dict[str, WeightedSum], PyTree]:
    """Return what a task's `eval_step` has returned, if it is a dict of sums and a carry. See `check_sum`."""
    sums, carry = _check_pair(owner, value)
    return check_sums(owner, sums), carry


def _check_pair(owner: str, value: object) -> tuple[object, PyTree]:
    """Return a pair as it is. Raises a ConfigError if the value is none."""
    if not isinstance(value, tuple) or isinstance(value, WeightedSum) or len(value) != 2:
        raise ConfigError(f"{owner}: a pair, whose second is the carry, expected, found {_describe(value)}")
    first, carry = value
    return first, carry


def _describe(value: object) -> str:
    """Return the type of a value in words. Within a compiled function arrays have types that users do not know."""
    if isinstance(value, jax.Array):
        return f"an array of shape {value.shape}"
    if value is None:
        return "None"
    return f"a {type(value).__name__}"
