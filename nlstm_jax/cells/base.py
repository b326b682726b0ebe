"""What a cell is, and the few functions that every cell's step is made of."""

import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray, Projected

GATINGS = ("multiply", "add")

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "softsign": jax.nn.soft_sign,
}


@runtime_checkable
class Layer(Protocol):
    """What `unroll` can run: every `Cell`, a `Bidirectional`, and a `Stack` of either.

    Implementations are frozen dataclasses, so a layer is hashable and static under `jit`.
    """

    def __hash__(self) -> int:
        """Equal specifications are one to `jit`."""

    @property
    def features(self) -> int:
        """H, the number of hidden units."""

    @property
    def out_features(self) -> int:
        """O, the width of the output: H, or the projection's."""

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        """Draw the parameters: a NamedTuple of float32 arrays."""

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """The memory before the first step: a NamedTuple of float32 zeros."""

    def sample_noise(self, params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> tuple[Params, Noise]:
        """Draw a sequence's noise, once and outside the scan; without a key there is none.

        Args:
            params: from `init`.
            key: what the noise is drawn from.
            shape: of the inputs, [T, *batch_shape, D].

        Returns:
            The parameters, with what is constant over the sequence put in, and what is drawn per time step:
            a pytree with leading axes [T, *batch_shape], or `()`.
        """


@runtime_checkable
class Cell(Layer, Protocol):
    """One step of a recurrence, as a frozen specification and pure functions of arrays.

    Arrays carry any leading axes (`batch_shape`); time is `unroll`'s business.
    """

    def project(self, params: Params, x: Array) -> Projected:
        """All of a step that needs no memory, for any leading axes of `x` at once (all time, usually)."""

    def step(
        self, params: Params, carry: Carry, z: Projected, noise: Noise = (), recurrent_input: Array | None = None
    ) -> tuple[Carry, Array]:
        """One step on a projected input.

        Args:
            params: prepared parameters.
            carry: the memory before the step.
            z: `project(params, x)` at this step.
            noise: this step's part of the noise from `sample_noise`.
            read: what the recurrent product sees in place of `carry.h`; the carry itself stays true.

        Returns:
            The memory after the step, and the output y [..., O].
        """


def no_noise(params: Params, key: PRNGKeyArray | None, shape: tuple[int, ...]) -> tuple[Params, Noise]:
    """The `sample_noise` of a cell that draws nothing."""
    del key, shape
    return params, ()


def dropout_mask(key: PRNGKeyArray, rate: float, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """0 with probability `rate`, else 1/(1 − rate), so that the expectation of what is masked stays."""
    return jax.random.bernoulli(key, 1 - rate, shape).astype(jnp.float32) / (1 - rate)


def leaves_with_names(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a carry or of parameters, by name, e.g. `inner.c`."""
    return [(jax.tree_util.keystr(path)[1:], leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def is_stochastic(layer: Layer, in_features: int) -> bool:
    """Whether `layer` draws anything at all when it is given a key."""
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_features))
    sample_noise = jax.make_jaxpr(lambda params, key: layer.sample_noise(params, key, (1, 1, in_features)))
    trace = str(sample_noise(params, jax.random.key(0)))
    # Every draw of jax.random ends in one of these primitives.
    return "random_bits" in trace or "random_gamma" in trace


def spec_repr(layer: Any) -> str:
    """A specification as it would be written: what is at its default is left out.

    >>> from nlstm_jax.cells import LSTM, Stack
    >>> spec_repr(Stack((LSTM(4), LSTM(5, projection=2))))
    'Stack(cells=(LSTM(features=4), LSTM(features=5, projection=2)))'
    """
    if isinstance(layer, tuple) and not hasattr(layer, "_fields"):
        return f"({', '.join(map(spec_repr, layer))}{',' if len(layer) == 1 else ''})"
    if not is_dataclass(layer) or isinstance(layer, type):
        return repr(layer)
    given = [
        (field.name, getattr(layer, field.name))
        for field in fields(layer)
        if field.default != getattr(layer, field.name)
    ]
    return f"{type(layer).__name__}({', '.join(f'{name}={spec_repr(value)}' for name, value in given)})"


class LayerNormParams(NamedTuple):
    """Gain and shift of one layer normalisation over F features."""

    gain: Float[Array, "F"]
    shift: Float[Array, "F"]


def layer_norm(params: LayerNormParams, x: Float[Array, "*b F"], epsilon: float) -> Float[Array, "*b F"]:
    """Normalise over the last axis (Ba et al. 2016, arXiv 1607.06450)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon) * params.gain + params.shift


def product(x: Float[Array, "*b I"], w: Float[Array, "I G"], dtype: Any = None) -> Float[Array, "*b G"]:
    """x @ w, the one function through which every matrix product of a cell goes.

    With a `dtype` (bfloat16, say) both factors are rounded to it; the sum is kept, and returned, in `w`'s own.
    """
    if dtype is None:
        return x @ w
    return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=w.dtype)


def apply_gate(gating: str, gate: Array, candidate: Array) -> Array:
    """What enters a memory: gate ⊙ candidate, or their sum in the variant `"add"` (see `Nested`)."""
    return gate * candidate if gating == "multiply" else gate + candidate


def fold_in_name(key: PRNGKeyArray, name: str) -> PRNGKeyArray:
    """The key of a thing by its name, so that adding a parameter moves no other parameter's draw."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def check_choice(owner: object, field: str, value: str, accepted: tuple[str, ...]) -> None:
    """Raise a ValueError that names the cell, the field, what was found and what is accepted."""
    if value not in accepted:
        raise ValueError(f"{type(owner).__name__}: {field}: one of {', '.join(accepted)} expected, found {value!r}")


def check_features(owner: object, field: str, value: int) -> None:
    """Raise a ValueError unless `value` is a whole number ≥ 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{type(owner).__name__}: {field}: a whole number ≥ 1 expected, found {value!r}")


def check_dtype(owner: object, field: str, value: Any) -> None:
    """Raise a ValueError unless `value` is None or names a floating dtype."""
    try:
        known = value is None or jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        known = False
    if not known:
        raise ValueError(
            f"{type(owner).__name__}: {field}: None, or a floating dtype such as 'bfloat16', expected, found {value!r}"
        )


def check_rate(owner: object, field: str, value: Any) -> None:
    """Raise a ValueError unless `value` is a probability in [0, 1)."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise ValueError(f"{type(owner).__name__}: {field}: a rate in [0, 1) expected, found {value!r}")


def check_layer(owner: str, field: str, layer: Any, kind: type = Layer) -> None:
    """Raise a ValueError unless `layer` has what a `Layer`, or a `Cell`, must have."""
    wanted = [name for name in dir(kind) if not name.startswith("_")]
    missing = [name for name in wanted if not hasattr(layer, name)]
    if missing or isinstance(layer, type):
        found = f"the class {layer.__name__}" if isinstance(layer, type) else repr(layer)
        lacks = f", which lacks {', '.join(missing)}" if missing else ""
        raise ValueError(f"{owner}: {field}: a {kind.__name__.lower()} expected, found {found}{lacks}")


def check_single(owner: object, field: str, cell: Cell) -> None:
    """Raise a ValueError unless `cell` is a single cell, whose carry has a memory `h`."""
    check_layer(type(owner).__name__, field, cell, Cell)
    carry = jax.eval_shape(lambda: cell.initial_carry(()))
    if not hasattr(carry, "h"):
        raise ValueError(
            f"{type(owner).__name__}: {field}: a single cell, whose carry has a memory h, expected, found "
            f"{type(cell).__name__} with {type(carry).__name__}{carry._fields}"
        )


def check_inside(owner: object, field: str, cell: Cell) -> None:
    """Raise a ValueError unless `cell` is single and may stand inside another.

    A cell whose class says `forbids_nesting = True` may not: its output is not simply its memory `h`, or it needs the
    memory's true old value, which the cell around it replaces.
    """
    check_single(owner, field, cell)
    if getattr(cell, "forbids_nesting", False):
        raise ValueError(
            f"{type(owner).__name__}: {field}: {type(cell).__name__} goes around {type(owner).__name__}, not inside it"
        )
