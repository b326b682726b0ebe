"""The loop over time of the recurrent layers of a model."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from nlstm_jax.adapters.nnx import Recurrent
from nlstm_jax.errors import ConfigError
from nlstm_jax.types import Array, Params
from nlstm_jax.unroll import unroll
from nlstm_jax.unroll.rules import LoopChoice, fastest_loop

__all__ = ["LoopChoice", "check_loop", "fastest_loop", "recurrent_layers", "set_loop"]

_PROBE = (2, 3)
"""The numbers of steps and sequences with which a loop is tried."""


def recurrent_layers(model: Any) -> list[Recurrent]:
    """Return the recurrent layers of a model, the nested ones included."""
    return [node for _, node in nnx.iter_graph(model) if isinstance(node, Recurrent)]


def set_loop(model: Any, loop: str) -> None:
    """Have all recurrent layers of a model run in this loop.

    Args:
        model: The model. It is changed in place.
        loop: The name of the loop, a `mode` of `unroll`.

    Raises:
        ConfigError: The loop cannot run a cell, or its gradient, or is not available on this machine.
    """
    for layer in recurrent_layers(model):
        layer.mode = loop
        check_loop(layer)


def check_loop(layer: Recurrent) -> None:
    """Raise a ConfigError unless the loop of a layer can run its cell, forward and backward. Nothing is computed."""
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(layer.values))
    xs = jax.ShapeDtypeStruct((*_PROBE, layer.in_features), dtype)

    def total(params: Params, xs: Array) -> Array:
        _, ys = unroll(layer.cell, params, xs, key=jax.random.key(0), mode=layer.mode)
        return ys.sum()

    try:
        jax.eval_shape(jax.grad(total, allow_int=True), layer.values, xs)
    except ValueError as error:
        raise ConfigError(f"config.unroll: {error}") from error
