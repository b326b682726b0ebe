"""Initialization schemes of the parameters of recurrent cells, by name.

| name           | W_x                            | W_h                             | biases             | peepholes |
|----------------|--------------------------------|---------------------------------|--------------------|-----------|
| `default`      | glorot uniform, gate by gate   | orthogonal, gate by gate        | 0                  | 0         |
| `keras`        | glorot uniform over all gates  | orthogonal over all gates       | 0                  | 0         |
| `keras_inner`  | the two stacked, [W_x; W_h], orthogonal as a whole: the inner level of Keras' Nested LSTM |||
| `torch`        | U(±1/√H)                       | U(±1/√H)                        | U(±1/√H)+U(±1/√H)  | U(±1/√H)  |
| `uniform(r)`   | U(±r)                          | U(±r)                           | U(±r)              | U(±r)     |
| `normal(s)`    | N(0, s²)                       | N(0, s²)                        | 0                  | 0         |

The option `forget_bias` is added to the bias that the scheme draws for the forget gate. A projection is drawn like
W_x. PyTorch has two biases, one for each kernel; `torch` draws their sum.
"""

import math
import re

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import fold_in_name
from nlstm_jax.types import Array, Float, PRNGKeyArray

_SCHEME_PATTERN = re.compile(r"(default|keras|keras_inner|torch)|(uniform|normal)\(([0-9.eE+-]+)\)")
ACCEPTED = "default, keras, keras_inner, torch, uniform(RADIUS), normal(DEVIATION)"


def check_scheme(owner: object, scheme: str) -> None:
    """Raise a ValueError unless `scheme` is one of the schemes in the table above."""
    try:
        _parse(scheme)
    except ValueError as error:
        raise ValueError(f"{type(owner).__name__}: init_scheme: {error}") from None


def init_kernels(
    scheme: str, key: PRNGKeyArray, in_features: int, read_features: int, features: int, gates: int
) -> tuple[Float[Array, "D G"], Float[Array, "R G"]]:
    """Draw W_x [D, gates·H] and W_h [R, gates·H], with the gates side by side in the order of the cell.

    Args:
        scheme: The name of the initialization scheme.
        key: The random key that both kernels are drawn from.
        in_features: The width D of the input.
        read_features: The width R of the recurrent input.
        features: The number of hidden units H.
        gates: The number of gates.
    """
    name, _ = _parse(scheme)
    key_x = fold_in_name(key, "w_x")
    key_h = fold_in_name(key, "w_h")
    width = gates * features
    orthogonal = jax.nn.initializers.orthogonal()

    if name == "default":
        blocks_x = [_glorot(gate_key, (in_features, features)) for gate_key in jax.random.split(key_x, gates)]
        blocks_h = [orthogonal(gate_key, (read_features, features)) for gate_key in jax.random.split(key_h, gates)]
        return jnp.concatenate(blocks_x, axis=1), jnp.concatenate(blocks_h, axis=1)

    if name == "keras":
        return _glorot(key_x, (in_features, width)), orthogonal(key_h, (read_features, width))

    if name == "keras_inner":
        stacked = orthogonal(key_h, (in_features + read_features, width))
        return stacked[:in_features], stacked[in_features:]

    w_x = _draw_independent(scheme, key_x, (in_features, width), features)
    w_h = _draw_independent(scheme, key_h, (read_features, width), features)
    return w_x, w_h


def draw_projection(scheme: str, key: PRNGKeyArray, features: int, out_features: int) -> Float[Array, "H O"]:
    """Draw the matrix W_p [H, O] of an LSTM with projection."""
    name, _ = _parse(scheme)
    if name in ("default", "keras", "keras_inner"):
        return _glorot(key, (features, out_features))
    return _draw_independent(scheme, key, (features, out_features), features)


def draw_bias(scheme: str, key: PRNGKeyArray, size: int, features: int) -> Float[Array, "size"]:
    """Draw the bias of several gates, [size], where each gate has a single bias."""
    name, _ = _parse(scheme)
    bias = draw_vector(scheme, key, (size,), features)
    if name == "torch":
        bias += draw_vector(scheme, fold_in_name(key, "recurrent"), (size,), features)
    return bias


def draw_vector(scheme: str, key: PRNGKeyArray, shape: tuple[int, ...], features: int) -> Array:
    """Draw peephole weights, or one of several biases of a gate."""
    name, _ = _parse(scheme)
    if name in ("torch", "uniform"):
        return _draw_independent(scheme, key, shape, features)
    return jnp.zeros(shape, jnp.float32)


def _glorot(key: PRNGKeyArray, shape: tuple[int, int]) -> Array:
    """Draw a glorot uniform matrix, or return an empty one for a cell without inputs.

    JAX's initializer divides by the number of rows, which is 0 for a cell without inputs.
    """
    if shape[0] == 0:
        return jnp.zeros(shape, jnp.float32)
    return jax.nn.initializers.glorot_uniform()(key, shape)


def _draw_independent(scheme: str, key: PRNGKeyArray, shape: tuple[int, ...], features: int) -> Array:
    """Draw independent values with the scheme `torch`, `uniform` or `normal`."""
    name, scale = _parse(scheme)
    if name == "normal":
        return scale * jax.random.normal(key, shape, jnp.float32)
    radius = 1 / math.sqrt(features) if name == "torch" else scale
    return jax.random.uniform(key, shape, jnp.float32, -radius, radius)


def _parse(scheme: str) -> tuple[str, float]:
    """Split a scheme into its name and its scale, which is NaN for a scheme without one.

    Raises:
        ValueError: The scheme is unknown, or its scale is not a finite number > 0.
    """
    match = _SCHEME_PATTERN.fullmatch(scheme)
    if match is None:
        raise ValueError(f"one of {ACCEPTED} expected, found {scheme!r}")
    if match[1]:
        return match[1], math.nan
    scale = float(match[3])
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"a finite number > 0 in the brackets expected, found {scheme!r}")
    return match[2], scale
