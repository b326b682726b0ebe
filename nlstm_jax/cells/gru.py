"""The gated recurrent unit, in both of its forms."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from nlstm_jax.cells.base import (
    ACTIVATIONS,
    check_choice,
    check_dtype,
    check_features,
    fold_in_name,
    no_noise,
    product,
)
from nlstm_jax.cells.initializers import check_scheme, draw_bias, draw_vector, init_kernels
from nlstm_jax.types import Array, Float, Noise, PRNGKeyArray


class GRUParams(NamedTuple):
    """Gate order r, z, n. `b_n` [H] is the bias inside r ⊙ (·), None with `reset_after=False`."""

    w_x: Float[Array, "D 3*H"]
    w_h: Float[Array, "H 3*H"]
    b: Float[Array, "3*H"] | None
    b_n: Float[Array, "H"] | None


class GRUCarry(NamedTuple):
    """The hidden state."""

    h: Float[Array, "*b H"]


@dataclass(frozen=True)
class GRU:
    """A gated recurrent unit; gate order r, z, n.

        r = σ(x W_xr + h W_hr + b_r)
        z = σ(x W_xz + h W_hz + b_z)
        n = tanh(x W_xn + b + r ⊙ (h W_hn + b_n))        reset_after=True: cuDNN, PyTorch, Keras' default
        n = tanh(x W_xn + b + (r ⊙ h) W_hn)              reset_after=False: Cho et al. 2014
        h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}

    Parameters: 3H(D + H + 1), and H more with `reset_after`.

    Attributes:
        features: The number of hidden units, H.
        reset_after: True for the first of the two forms of n.
        candidate_activation: The name of the activation in place of tanh.
        gate_activation: The name of the activation in place of σ.
        use_bias: True if there are biases.
        init_scheme: The name of the scheme of the initial values (`cells.initializers`).
        dtype: The dtype of the factors of matrix products, such as `jnp.bfloat16`; parameters and carry keep theirs.

    Raises:
        ValueError: A field has an invalid value. The message names the field, the value and what is accepted.

    Source: Cho et al. 2014, arXiv 1406.1078.

    >>> import jax
    >>> cell = GRU(features=4)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jax.numpy.ones((2, 3))))
    >>> y.shape
    (2, 4)
    """

    features: int
    reset_after: bool = True
    candidate_activation: str = "tanh"
    gate_activation: str = "sigmoid"
    use_bias: bool = True
    init_scheme: str = "default"
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_features(self, "features", self.features)
        check_choice(self, "candidate_activation", self.candidate_activation, tuple(ACTIVATIONS))
        check_choice(self, "gate_activation", self.gate_activation, tuple(ACTIVATIONS))
        check_scheme(self, self.init_scheme)
        check_dtype(self, "dtype", self.dtype)

    @property
    def out_features(self) -> int:
        """H."""
        return self.features

    def init(self, key: PRNGKeyArray, in_features: int) -> GRUParams:
        """Draw the parameters."""
        width = self.features
        w_x, w_h = init_kernels(self.init_scheme, key, in_features, width, width, gates=3)
        if not self.use_bias:
            return GRUParams(w_x, w_h, None, None)
        b = draw_bias(self.init_scheme, fold_in_name(key, "b"), 3 * width, width)
        if not self.reset_after:
            return GRUParams(w_x, w_h, b, None)
        # Of the two biases of n one is inside the reset gate's brackets: they are not one sum.
        n = draw_vector(self.init_scheme, fold_in_name(key, "b"), (3 * width,), width)[2 * width :]
        b_n = draw_vector(self.init_scheme, fold_in_name(key, "b_n"), (width,), width)
        return GRUParams(w_x, w_h, b.at[2 * width :].set(n), b_n)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> GRUCarry:
        """Zeros."""
        return GRUCarry(jnp.zeros((*batch_shape, self.features), jnp.float32))

    sample_noise = staticmethod(no_noise)

    def project(self, params: GRUParams, x: Float[Array, "*b D"]) -> Float[Array, "*b G"]:
        """x W_x + b, the three gates side by side."""
        z = product(x, params.w_x, self.dtype)
        return z if params.b is None else z + params.b

    def step(
        self,
        params: GRUParams,
        carry: GRUCarry,
        z: Float[Array, "*b G"],
        noise: Noise = (),
        recurrent_input: Float[Array, "*b H"] | None = None,
    ) -> tuple[GRUCarry, Float[Array, "*b H"]]:
        """One step, in the order of the equations above."""
        del noise
        gate = ACTIVATIONS[self.gate_activation]
        candidate = ACTIVATIONS[self.candidate_activation]
        h_read = carry.h if recurrent_input is None else recurrent_input
        x_rz, x_n = jnp.split(z, (2 * self.features,), axis=-1)
        if self.reset_after:
            h_rz, h_n = jnp.split(product(h_read, params.w_h, self.dtype), (2 * self.features,), axis=-1)
            reset, update = jnp.split(gate(x_rz + h_rz), 2, axis=-1)
            n = candidate(x_n + reset * (h_n if params.b_n is None else h_n + params.b_n))
        else:
            w_rz, w_n = jnp.split(params.w_h, (2 * self.features,), axis=1)
            reset, update = jnp.split(gate(x_rz + product(h_read, w_rz, self.dtype)), 2, axis=-1)
            n = candidate(x_n + product(reset * h_read, w_n, self.dtype))
        h = (1 - update) * n + update * carry.h
        return GRUCarry(h), h
