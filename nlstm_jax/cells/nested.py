"""The Nested LSTM: an LSTM whose memory is itself a cell."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from nlstm_jax.cells.base import (
    ACTIVATIONS,
    GATINGS,
    apply_gate,
    check_choice,
    check_dtype,
    check_features,
    check_inside,
    fold_in_name,
    fold_in_name_if_key,
    product,
)
from nlstm_jax.cells.initializers import check_scheme, init_kernels
from nlstm_jax.cells.lstm import LSTM, draw_forget_biased
from nlstm_jax.cells.protocol import CellField, class_name, complete
from nlstm_jax.types import Array, Carry, Float, Noise, Params, PRNGKeyArray


class NestedParams(NamedTuple):
    """Gate order i, f, g, o; `inner` are the inner cell's own parameters."""

    w_x: Float[Array, "D 4*H"]
    w_h: Float[Array, "H 4*H"]
    b: Float[Array, "4*H"] | None
    inner: Params


class NestedCarry(NamedTuple):
    """The output h, and the inner cell's carry, whose h *is* this level's memory c."""

    h: Float[Array, "*b H"]
    inner: Carry


@dataclass(frozen=True)
class Nested:
    """An LSTM whose memory is a cell; gate order i, f, g, o.

        [i f g o] = x_t W_x + h_{t−1} W_h + b
        x̃   = σ(i) ⊙ φ(g)          φ = identity outermost, tanh inside;  gating="add": σ(i) + φ(g)
        h̃   = σ(f) ⊙ c_{t−1}
        c_t = the inner cell's output on input x̃, with h̃ in place of its own previous output
        h_t = σ(o) ⊙ tanh(c_t)

    Depth 3 is `Nested(inner=Nested(inner=LSTM))`; any cell with a memory `h` of width H can be inside.
    Parameters: 4H(D + H + 1) + the inner cell's on H inputs; with LSTMs inside, exactly those of as many stacked
    LSTM layers.

    Attributes:
        features: The number of hidden units, H.
        inner: The cell that is the memory; its `out_features` must be H.
        candidate_activation: The name of φ.
        gating: The input of the memory: "multiply" as in the paper, or "add" as in the widely copied Keras layer.
        output_activation: The name of the activation of c_t.
        gate_activation: The name of the activation in place of σ.
        forget_bias: The initial value of b's forget block.
        use_bias: True if there is a b.
        init_scheme: The name of the scheme of the initial values (`cells.initializers`).
        dtype: The dtype of the factors of matrix products, such as `jnp.bfloat16`; parameters and carry keep theirs.

    Raises:
        ValueError: A field has an invalid value. The message names the field, the value and what is accepted.

    Source: Moniz & Krueger 2017, "Nested LSTMs", arXiv 1801.10308.

    >>> import jax
    >>> cell = Nested(features=4, inner=LSTM(features=4))
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jax.numpy.ones((2, 3))))
    >>> y.shape, carry.inner.c.shape
    ((2, 4), (2, 4))
    """

    features: int
    inner: CellField
    candidate_activation: str = "identity"
    gating: str = "multiply"
    output_activation: str = "tanh"
    gate_activation: str = "sigmoid"
    forget_bias: float = 1.0
    use_bias: bool = True
    init_scheme: str = "default"
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_features(self, "features", self.features)
        check_choice(self, "gating", self.gating, GATINGS)
        for field in ("candidate_activation", "output_activation", "gate_activation"):
            check_choice(self, field, getattr(self, field), tuple(ACTIVATIONS))
        check_scheme(self, self.init_scheme)
        check_dtype(self, "dtype", self.dtype)
        object.__setattr__(self, "inner", complete(self.inner))
        check_inside(self, "inner", self.inner)
        if self.inner.out_features != self.features:
            raise ValueError(
                f"Nested: inner: a cell of out_features={self.features} expected, as its output is the memory "
                f"of this level; found {class_name(self.inner)} with {self.inner.out_features}"
            )

    @property
    def out_features(self) -> int:
        """H."""
        return self.features

    def init(self, key: PRNGKeyArray, in_features: int) -> NestedParams:
        """Draw this level's parameters and the inner cell's."""
        width = self.features
        scheme = self.init_scheme
        w_x, w_h = init_kernels(scheme, key, in_features, width, width, gates=4)
        b = None
        if self.use_bias:
            b = draw_forget_biased(scheme, key, width, self.forget_bias)
        return NestedParams(w_x, w_h, b, self.inner.init(fold_in_name(key, "inner"), width))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> NestedCarry:
        """Zeros on every level."""
        h = jnp.zeros((*batch_shape, self.features), jnp.float32)
        return NestedCarry(h, self.inner.initial_carry(batch_shape))

    def sample_noise(
        self, params: NestedParams, key: PRNGKeyArray | None, shape: tuple[int, ...]
    ) -> tuple[NestedParams, Noise]:
        """Draw the noise of the inner cell."""
        inner_key = fold_in_name_if_key(key, "inner")
        inner, noise = self.inner.sample_noise(params.inner, inner_key, (*shape[:-1], self.features))
        return params._replace(inner=inner), noise

    def project(self, params: NestedParams, x: Float[Array, "*b D"]) -> Float[Array, "*b G"]:
        """x W_x + b, the four gates side by side."""
        z = product(x, params.w_x, self.dtype)
        return z if params.b is None else z + params.b

    def step(
        self,
        params: NestedParams,
        carry: NestedCarry,
        z: Float[Array, "*b G"],
        noise: Noise = (),
        recurrent_input: Float[Array, "*b H"] | None = None,
    ) -> tuple[NestedCarry, Float[Array, "*b H"]]:
        """One step, in the order of the equations above."""
        gate = ACTIVATIONS[self.gate_activation]
        h_read = carry.h if recurrent_input is None else recurrent_input
        i, f, g, o = jnp.split(z + product(h_read, params.w_h, self.dtype), 4, axis=-1)
        x_inner = apply_gate(self.gating, gate(i), ACTIVATIONS[self.candidate_activation](g))
        h_inner = gate(f) * carry.inner.h
        inner_z = self.inner.project(params.inner, x_inner)
        inner, c = self.inner.step(params.inner, carry.inner._replace(h=h_inner), inner_z, noise)
        h = gate(o) * ACTIVATIONS[self.output_activation](c)
        return NestedCarry(h, inner), h


def nested_lstm(
    features: int,
    depth: int,
    gating: str = "multiply",
    *,
    candidate_activation: str = "identity",
    inner_activation: str = "tanh",
    output_activation: str = "tanh",
    gate_activation: str = "sigmoid",
    forget_bias: float = 1.0,
    use_bias: bool = True,
    init_scheme: str = "default",
    dtype: DTypeLike | None = None,
) -> LSTM | Nested:
    """Return the Nested LSTM of the paper: `depth` levels, all of the same width.

    Depth 1 is the LSTM whose candidate is the identity; every inner level's candidate is tanh. With
    `init_scheme="keras"` the inner levels take `"keras_inner"`, as the Keras layer does.

    Args:
        features: The number of hidden units H of every level.
        depth: The number of levels.
        gating: The input of the memory: "multiply", or "add" for the variant of the Keras layer.
        candidate_activation: The name of φ of the outermost level.
        inner_activation: The name of φ of the levels inside.
        output_activation, gate_activation, forget_bias, use_bias, init_scheme, dtype: As in `LSTM`, for every level.

    Raises:
        ValueError: `depth` is not a whole number ≥ 1, or a field is not what `LSTM` and `Nested` accept.

    Source: Moniz & Krueger 2017, "Nested LSTMs", arXiv 1801.10308.

    >>> nested_lstm(features=40, depth=2).inner
    LSTM(features=40, ...)
    """
    if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
        raise ValueError(f"nested_lstm: depth: a whole number ≥ 1 expected, found {depth!r}")
    cell: LSTM | Nested | None = None
    for level in reversed(range(depth)):
        options: dict[str, Any] = {
            "candidate_activation": candidate_activation,
            "output_activation": output_activation,
            "gate_activation": gate_activation,
            "gating": gating,
            "forget_bias": forget_bias,
            "use_bias": use_bias,
            "init_scheme": init_scheme,
            "dtype": dtype,
        }
        if level > 0:
            options["candidate_activation"] = inner_activation
            if init_scheme == "keras":
                options["init_scheme"] = "keras_inner"
        cell = LSTM(features, **options) if cell is None else Nested(features, cell, **options)
    assert cell is not None
    return cell
