"""The long short-term memory, with the options that the literature and other libraries have."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from nlstm_jax.cells.base import (
    ACTIVATIONS,
    GATINGS,
    LayerNormParams,
    apply_gate,
    check_choice,
    check_dtype,
    check_features,
    fold_in_name,
    layer_norm,
    no_noise,
    product,
)
from nlstm_jax.cells.initializers import check_scheme, draw_bias, draw_projection, draw_vector, init_kernels
from nlstm_jax.types import Array, Float, Noise, PRNGKeyArray


class LSTMNorm(NamedTuple):
    """The three layer normalisations: of x W_x, of h W_h (over all gates each) and of c."""

    x: LayerNormParams
    h: LayerNormParams
    c: LayerNormParams


class LSTMParams(NamedTuple):
    """Gate order i, f, g, o. What an option leaves out is None. O is H, or the projection's width."""

    w_x: Float[Array, "D 4*H"]
    w_h: Float[Array, "O 4*H"]
    b: Float[Array, "4*H"] | None
    peephole: Float[Array, "3 H"] | None
    w_p: Float[Array, "H O"] | None
    norm: LSTMNorm | None


class LSTMCarry(NamedTuple):
    """Memory and output."""

    c: Float[Array, "*b H"]
    h: Float[Array, "*b O"]


@dataclass(frozen=True)
class LSTM:
    """A long short-term memory; gate order i, f, g, o.

        [i f g o] = x_t W_x + h_{t−1} W_h + b        layer_norm: LN(x_t W_x) + LN(h_{t−1} W_h) + b
        i, f     += p_i ⊙ c_{t−1}, p_f ⊙ c_{t−1}     peephole
        c_t       = σ(f) ⊙ c_{t−1} + σ(i) ⊙ tanh(g)  gating="add": σ(i) + tanh(g)
        o        += p_o ⊙ c_t                        peephole
        h_t       = σ(o) ⊙ tanh(c_t)                 layer_norm: tanh(LN(c_t)); projection: (…) W_p

    Parameters: 4H(D + H + 1); peepholes add 3H, a projection to O makes it 4H(D + O + 1) + HO, layer
    normalisation adds 18H.

    Attributes:
        features: The number of hidden units, H.
        forget_bias: The initial value of b's forget block. It is not added in the forward pass.
        gating: The input of the memory: "multiply", or "add" for the innermost level of the Keras Nested LSTM, see
            `Nested`.
        candidate_activation: The name of the activation of g.
        output_activation: The name of the activation of c_t.
        gate_activation: The name of the activation in place of σ.
        peephole: True for diagonal weights from the memory to the gates; o sees the new memory.
        projection: The width O that h is projected to; None: no projection.
        layer_norm: True to normalize as above, every normalization with its own gain and shift.
        norm_epsilon: The number that is added to the variance.
        use_bias: True if there is a b.
        init_scheme: The name of the scheme of the initial values (`cells.initializers`).
        dtype: The dtype of the factors of matrix products, such as `jnp.bfloat16`; parameters and carry keep theirs.

    Raises:
        ValueError: A field has an invalid value. The message names the field, the value and what is accepted.

    Sources: Hochreiter & Schmidhuber 1997; forget gate and peepholes: Gers & Schmidhuber 2000; projection: Sak
    et al. 2014, arXiv 1402.1128; layer normalisation: Ba et al. 2016, arXiv 1607.06450.

    >>> import jax
    >>> cell = LSTM(features=4, peephole=True)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jax.numpy.ones((2, 3))))
    >>> y.shape
    (2, 4)
    """

    features: int
    forget_bias: float = 1.0
    gating: str = "multiply"
    candidate_activation: str = "tanh"
    output_activation: str = "tanh"
    gate_activation: str = "sigmoid"
    peephole: bool = False
    projection: int | None = None
    layer_norm: bool = False
    norm_epsilon: float = 1e-5
    use_bias: bool = True
    init_scheme: str = "default"
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_features(self, "features", self.features)
        if self.projection is not None:
            check_features(self, "projection", self.projection)
        check_choice(self, "gating", self.gating, GATINGS)
        for field in ("candidate_activation", "output_activation", "gate_activation"):
            check_choice(self, field, getattr(self, field), tuple(ACTIVATIONS))
        check_scheme(self, self.init_scheme)
        check_dtype(self, "dtype", self.dtype)

    @property
    def out_features(self) -> int:
        """The projection's width, or H."""
        return self.features if self.projection is None else self.projection

    def init(self, key: PRNGKeyArray, in_features: int) -> LSTMParams:
        """Draw the parameters."""
        width = self.features
        out = self.out_features
        scheme = self.init_scheme
        w_x, w_h = init_kernels(scheme, key, in_features, out, width, gates=4)
        b = peephole = w_p = norm = None
        if self.use_bias:
            b = draw_forget_biased(scheme, key, width, self.forget_bias)
        if self.peephole:
            peephole = draw_vector(scheme, fold_in_name(key, "peephole"), (3, width), width)
        if self.projection is not None:
            w_p = draw_projection(scheme, fold_in_name(key, "w_p"), width, out)
        if self.layer_norm:
            norm = LSTMNorm(
                x=LayerNormParams(jnp.ones(4 * width), jnp.zeros(4 * width)),
                h=LayerNormParams(jnp.ones(4 * width), jnp.zeros(4 * width)),
                c=LayerNormParams(jnp.ones(width), jnp.zeros(width)),
            )
        return LSTMParams(w_x, w_h, b, peephole, w_p, norm)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> LSTMCarry:
        """Zeros."""
        c = jnp.zeros((*batch_shape, self.features), jnp.float32)
        return LSTMCarry(c, jnp.zeros((*batch_shape, self.out_features), jnp.float32))

    sample_noise = staticmethod(no_noise)

    def project(self, params: LSTMParams, x: Float[Array, "*b D"]) -> Float[Array, "*b G"]:
        """x W_x + b, the four gates side by side."""
        z = product(x, params.w_x, self.dtype)
        if params.norm is not None:
            z = layer_norm(params.norm.x, z, self.norm_epsilon)
        return z if params.b is None else z + params.b

    def step(
        self,
        params: LSTMParams,
        carry: LSTMCarry,
        z: Float[Array, "*b G"],
        noise: Noise = (),
        recurrent_input: Float[Array, "*b O"] | None = None,
    ) -> tuple[LSTMCarry, Float[Array, "*b O"]]:
        """One step, in the order of the equations above."""
        del noise
        gate = ACTIVATIONS[self.gate_activation]
        recurrent = product(carry.h if recurrent_input is None else recurrent_input, params.w_h, self.dtype)
        if params.norm is not None:
            recurrent = layer_norm(params.norm.h, recurrent, self.norm_epsilon)
        i, f, g, o = jnp.split(z + recurrent, 4, axis=-1)
        if params.peephole is not None:
            i = i + params.peephole[0] * carry.c
            f = f + params.peephole[1] * carry.c
        c = gate(f) * carry.c + apply_gate(self.gating, gate(i), ACTIVATIONS[self.candidate_activation](g))
        if params.peephole is not None:
            o = o + params.peephole[2] * c
        c_out = c if params.norm is None else layer_norm(params.norm.c, c, self.norm_epsilon)
        h = gate(o) * ACTIVATIONS[self.output_activation](c_out)
        if params.w_p is not None:
            h = product(h, params.w_p, self.dtype)
        return LSTMCarry(c, h), h


def draw_forget_biased(
    scheme: str, key: PRNGKeyArray, features: int, forget_bias: float
) -> Float[Array, "4*{features}"]:
    """b [4H] in the order i, f, g, o, with `forget_bias` added to its second block."""
    b = draw_bias(scheme, fold_in_name(key, "b"), 4 * features, features)
    return b.at[features : 2 * features].add(forget_bias)
