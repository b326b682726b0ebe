"""Initial values of recurrent parameters, by name.

| name           | W_x                            | W_h                             | biases             | peepholes |
|----------------|--------------------------------|---------------------------------|--------------------|-----------|
| `default`      | glorot uniform, gate by gate   | orthogonal, gate by gate        | 0                  | 0         |
| `keras`        | glorot uniform over all gates  | orthogonal over all gates       | 0                  | 0         |
| `keras_inner`  | the two stacked, [W_x; W_h], orthogonal as a whole: the inner level of Keras' Nested LSTM |||
| `torch`        | U(±1/√H)                       | U(±1/√H)                        | U(±1/√H)+U(±1/√H)  | U(±1/√H)  |
| `uniform(r)`   | U(±r)                          | U(±r)                           | U(±r)              | U(±r)     |
| `normal(s)`    | N(0, s²)                       | N(0, s²)                        | 0                  | 0         |

A forget gate's bias is added to what the scheme draws for it. A projection is drawn like W_x. PyTorch adds two
biases, one beside each kernel: `torch` draws their sum.
"""

import math
import re

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import fold_in_name
from nlstm_jax.types import Array, Float, PRNGKeyArray

_SPELLED = re.compile(r"(default|keras|keras_inner|torch)|(uniform|normal)\(([0-9.eE+-]+)\)")
ACCEPTED = "default, keras, keras_inner, torch, uniform(RADIUS), normal(DEVIATION)"


def check_scheme(owner: object, scheme: str) -> None:
    """Raise a ValueError unless `scheme` is one of the names above."""
    try:
        _parse(scheme)
    except ValueError as error:
        raise ValueError(f"{type(owner).__name__}: init_scheme: {error}") from None


def init_kernels(
    scheme: str, key: PRNGKeyArray, in_features: int, read_features: int, features: int, gates: int
) -> tuple[Float[Array, "D G"], Float[Array, "R G"]]:
    """W_x [D, gates·H] and W_h [R, gates·H], the gates side by side in the cell's order."""
    name, _ = _parse(scheme)
    key_x, key_h = fold_in_name(key, "w_x"), fold_in_name(key, "w_h")
    width = gates * features
    orthogonal = jax.nn.initializers.orthogonal()
    if name == "default":
        blocks_x = [_glorot(k, (in_features, features)) for k in jax.random.split(key_x, gates)]
        blocks_h = [orthogonal(k, (read_features, features)) for k in jax.random.split(key_h, gates)]
        return jnp.concatenate(blocks_x, axis=1), jnp.concatenate(blocks_h, axis=1)
    if name == "keras":
        return _glorot(key_x, (in_features, width)), orthogonal(key_h, (read_features, width))
    if name == "keras_inner":
        whole = orthogonal(key_h, (in_features + read_features, width))
        return whole[:in_features], whole[in_features:]
    return (
        _draw_alike(scheme, key_x, (in_features, width), features),
        _draw_alike(scheme, key_h, (read_features, width), features),
    )


def draw_projection(scheme: str, key: PRNGKeyArray, features: int, out_features: int) -> Float[Array, "H O"]:
    """W_p [H, O] of an LSTM with projection."""
    if _parse(scheme)[0] in ("default", "keras", "keras_inner"):
        return _glorot(key, (features, out_features))
    return _draw_alike(scheme, key, (features, out_features), features)


def draw_bias(scheme: str, key: PRNGKeyArray, size: int, features: int) -> Float[Array, "size"]:
    """Draw a bias that stands for all the biases of its gates."""
    bias = draw_vector(scheme, key, (size,), features)
    if _parse(scheme)[0] == "torch":
        bias += draw_vector(scheme, fold_in_name(key, "recurrent"), (size,), features)
    return bias


def draw_vector(scheme: str, key: PRNGKeyArray, shape: tuple[int, ...], features: int) -> Array:
    """Draw one bias of several, or peepholes."""
    if _parse(scheme)[0] in ("torch", "uniform"):
        return _draw_alike(scheme, key, shape, features)
    return jnp.zeros(shape, jnp.float32)


def _glorot(key: PRNGKeyArray, shape: tuple[int, int]) -> Array:
    """Glorot uniform; a cell without inputs has no rows, which JAX' own divides by."""
    return jax.nn.initializers.glorot_uniform()(key, shape) if shape[0] else jnp.zeros(shape, jnp.float32)


def _draw_alike(scheme: str, key: PRNGKeyArray, shape: tuple[int, ...], features: int) -> Array:
    """Values of the schemes that treat all parameters alike."""
    name, scale = _parse(scheme)
    if name == "normal":
        return scale * jax.random.normal(key, shape, jnp.float32)
    radius = 1 / math.sqrt(features) if name == "torch" else scale
    return jax.random.uniform(key, shape, jnp.float32, -radius, radius)


def _parse(scheme: str) -> tuple[str, float]:
    match = _SPELLED.fullmatch(scheme)
    if match is None:
        raise ValueError(f"one of {ACCEPTED} expected, found {scheme!r}")
    if match[1]:
        return match[1], math.nan
    scale = float(match[3])
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"a finite number > 0 in the brackets expected, found {scheme!r}")
    return match[2], scale
