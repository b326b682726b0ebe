"""The functions that every cell is built from."""

import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from nlstm_jax.cells.protocol import Cell, CompleteCell, Layer, MinimalCell, class_name, complete, missing_members
from nlstm_jax.types import Array, Float, Noise, Params, PRNGKeyArray, PyTree

GATINGS = ("multiply", "add")
"""The ways to combine an input gate with its candidate, see `apply_gate`."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    # Keras 3, PyTorch: clip(z/6 + 1/2, 0, 1). Keras 1 and 2: clip(z/5 + 1/2, 0, 1), the default gate up to 2.2.
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_sigmoid_keras2": lambda x: jnp.clip(0.2 * x + 0.5, 0.0, 1.0),
    "softsign": jax.nn.soft_sign,
}
"""The activation functions that a cell's options can name."""


def no_noise(params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> tuple[Params, Noise]:
    """Return the parameters unchanged and no noise, as the `sample_noise` of a deterministic cell."""
    del key, shape
    return params, ()


def dropout_mask(key: PRNGKeyArray, rate: float, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw a float32 mask that is 0 with probability `rate`, else 1/(1 − rate).

    The expectation of a masked array is the array itself.
    """
    is_kept = jax.random.bernoulli(key, 1 - rate, shape)
    return is_kept.astype(jnp.float32) / (1 - rate)


def leaves_with_names(tree: PyTree) -> list[tuple[str, Any]]:
    """Return the leaves of a carry or of parameters with their names, such as `inner.c`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path)[1:], leaf) for path, leaf in leaves]


def is_stochastic(layer: Layer | MinimalCell, in_features: int) -> bool:
    """Return True if a layer draws any noise when `sample_noise` gets a key. Nothing is computed.

    Args:
        layer: The cell or layer.
        in_features: The number of input features, D.

    >>> from nlstm_jax import LSTM, Zoneout
    >>> is_stochastic(LSTM(4), in_features=3), is_stochastic(Zoneout(LSTM(4), rates=0.1), in_features=3)
    (False, True)
    """
    layer = complete(layer)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features))
    sample_noise = jax.make_jaxpr(lambda params, key: layer.sample_noise(params, key, (1, 1, in_features)))
    trace = str(sample_noise(params, jax.random.key(0)))
    # Every draw of jax.random ends in one of these primitives.
    return "random_bits" in trace or "random_gamma" in trace


def spec_repr(layer: object) -> str:
    """Return a specification as Python source, without the fields that have their default value.

    >>> from nlstm_jax.cells import LSTM, Stack
    >>> spec_repr(Stack((LSTM(4), LSTM(5, projection=2))))
    'Stack(cells=(LSTM(features=4), LSTM(features=5, projection=2)))'
    """
    if isinstance(layer, CompleteCell):
        return spec_repr(layer.cell)

    if isinstance(layer, tuple) and not hasattr(layer, "_fields"):
        items = ", ".join(map(spec_repr, layer))
        trailing_comma = "," if len(layer) == 1 else ""
        return f"({items}{trailing_comma})"

    if not is_dataclass(layer) or isinstance(layer, type):
        return repr(layer)

    arguments = []
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.default != value:
            arguments.append(f"{field.name}={spec_repr(value)}")
    return f"{type(layer).__name__}({', '.join(arguments)})"


class LayerNormParams(NamedTuple):
    """A gain and a shift, the parameters of one layer normalization over F features."""

    gain: Float[Array, "F"]
    shift: Float[Array, "F"]


def layer_norm(params: LayerNormParams, x: Float[Array, "*b F"], epsilon: float) -> Float[Array, "*b F"]:
    """Normalize over the last axis (Ba et al. 2016, arXiv 1607.06450)."""
    centered = x - x.mean(-1, keepdims=True)
    variance = jnp.square(centered).mean(-1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + epsilon) * params.gain + params.shift


def product(x: Float[Array, "*b I"], w: Float[Array, "I G"], dtype: DTypeLike | None = None) -> Float[Array, "*b G"]:
    """Return x @ w. Every matrix product of a cell is computed by this function.

    With a `dtype`, such as bfloat16, both factors are rounded to it. The sums are computed and returned in the dtype
    of `w`.
    """
    if dtype is None:
        return x @ w
    return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=w.dtype)


def apply_gate(gating: str, gate: Array, candidate: Array) -> Array:
    """Return the input of a memory: gate ⊙ candidate, or their sum with the gating `"add"` (see `Nested`)."""
    if gating == "multiply":
        return gate * candidate
    return gate + candidate


def fold_in_name(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """Derive a random key from `key` and a name.

    A parameter's initial value depends on its name alone. A new parameter does not change the values of the others.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def fold_in_name_if_key(key: PRNGKeyArray | None, name: str) -> PRNGKeyArray | None:
    """Derive a random key from `key` and a name, or return None if `key` is None."""
    if key is None:
        return None
    return fold_in_name(key, name)


def check_choice(owner: object, field: str, value: str, accepted: tuple[str, ...]) -> None:
    """Raise a ValueError unless `value` is one of `accepted`.

    The message names the cell, the field, the value and the accepted values.
    """
    if value not in accepted:
        raise ValueError(f"{type(owner).__name__}: {field}: one of {', '.join(accepted)} expected, found {value!r}")


def check_features(owner: object, field: str, value: int) -> None:
    """Raise a ValueError unless `value` is a whole number ≥ 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{type(owner).__name__}: {field}: a whole number ≥ 1 expected, found {value!r}")


def check_dtype(owner: object, field: str, value: Any) -> None:
    """Raise a ValueError unless `value` is None or names a floating dtype."""
    try:
        is_valid = value is None or jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"{type(owner).__name__}: {field}: None, or a floating dtype such as 'bfloat16', expected, found {value!r}"
        )


def check_rate(owner: object, field: str, value: object) -> None:
    """Raise a ValueError unless `value` is a probability in [0, 1)."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{type(owner).__name__}: {field}: a rate in [0, 1) expected, found {value!r}")


def check_layer(owner: str, field: str, layer: object, kind: type = Layer) -> None:
    """Raise a ValueError unless `layer` is an instance of `kind`. The message names the methods that are missing.

    Args:
        owner: The name of the object that the layer belongs to, for the message.
        field: The name of the field that holds the layer, for the message.
        layer: The value to check, as returned by `complete`.
        kind: The protocol, `Layer` or `Cell`.
    """
    missing = missing_members(layer)
    if isinstance(layer, type):
        description = f"the class {layer.__name__}"
    elif missing and not isinstance(layer, kind):
        description = f"{layer!r}, which lacks {', '.join(missing)}"
    elif type(layer).__hash__ is None:
        description = f"{layer!r}, which cannot be hashed; @dataclass(frozen=True) serves"
    else:
        return
    raise ValueError(f"{owner}: {field}: a {kind.__name__.lower()} expected, found {description}")


def check_single(owner: object, field: str, cell: Cell) -> None:
    """Raise a ValueError unless `cell` is a single cell, one whose carry has a field `h`."""
    check_layer(type(owner).__name__, field, cell, Cell)
    carry = jax.eval_shape(lambda: cell.initial_carry(()))
    if not hasattr(carry, "h"):
        raise ValueError(
            f"{type(owner).__name__}: {field}: a single cell, whose carry has a memory h, expected, found "
            f"{class_name(cell)} with {type(carry).__name__}{getattr(carry, '_fields', '')}"
        )


def check_inside(owner: object, field: str, cell: Cell) -> None:
    """Raise a ValueError unless `cell` is a single cell that may be inside another one.

    A cell whose class sets `forbids_nesting = True` must be outermost. Either its output is not its memory `h`, or it
    needs the true previous value of the memory, which the outer cell replaces.
    """
    check_single(owner, field, cell)
    if getattr(cell, "forbids_nesting", False):
        raise ValueError(
            f"{type(owner).__name__}: {field}: {class_name(cell)} goes around {type(owner).__name__}, not inside it"
        )
