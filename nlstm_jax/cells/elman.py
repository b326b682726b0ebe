"""The simple recurrent network (Elman 1990)."""

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
from nlstm_jax.cells.initializers import check_scheme, draw_bias, init_kernels
from nlstm_jax.types import Array, Float, Noise, PRNGKeyArray


class ElmanParams(NamedTuple):
    """`b` is None without biases."""

    w_x: Float[Array, "D H"]
    w_h: Float[Array, "H H"]
    b: Float[Array, "H"] | None


class ElmanCarry(NamedTuple):
    """The hidden state."""

    h: Float[Array, "*b H"]


@dataclass(frozen=True)
class Elman:
    """A simple recurrent network.

        h_t = tanh(x_t W_x + h_{t−1} W_h + b)

    Parameters: H(D + H + 1).

    Attributes:
        features: The number of hidden units, H.
        activation: The name of the activation in place of tanh.
        use_bias: True if there is a b.
        init_scheme: The name of the scheme of the initial values (`cells.initializers`).
        dtype: The dtype of the factors of matrix products, such as `jnp.bfloat16`; parameters and carry keep theirs.

    Raises:
        ValueError: A field has an invalid value. The message names the field, the value and what is accepted.

    Source: Elman 1990, "Finding structure in time".

    >>> import jax
    >>> cell = Elman(features=4)
    >>> params = cell.init(jax.random.key(0), in_features=3)
    >>> carry, y = cell.step(params, cell.initial_carry((2,)), cell.project(params, jax.numpy.ones((2, 3))))
    >>> y.shape
    (2, 4)
    """

    features: int
    activation: str = "tanh"
    use_bias: bool = True
    init_scheme: str = "default"
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_features(self, "features", self.features)
        check_choice(self, "activation", self.activation, tuple(ACTIVATIONS))
        check_scheme(self, self.init_scheme)
        check_dtype(self, "dtype", self.dtype)

    @property
    def out_features(self) -> int:
        """H."""
        return self.features

    def init(self, key: PRNGKeyArray, in_features: int) -> ElmanParams:
        """Draw the parameters."""
        w_x, w_h = init_kernels(self.init_scheme, key, in_features, self.features, self.features, gates=1)
        b = draw_bias(self.init_scheme, fold_in_name(key, "b"), self.features, self.features)
        return ElmanParams(w_x, w_h, b if self.use_bias else None)

    def initial_carry(self, batch_shape: tuple[int, ...]) -> ElmanCarry:
        """Zeros."""
        return ElmanCarry(jnp.zeros((*batch_shape, self.features), jnp.float32))

    sample_noise = staticmethod(no_noise)

    def project(self, params: ElmanParams, x: Float[Array, "*b D"]) -> Float[Array, "*b H"]:
        """x W_x + b."""
        z = product(x, params.w_x, self.dtype)
        return z if params.b is None else z + params.b

    def step(
        self,
        params: ElmanParams,
        carry: ElmanCarry,
        z: Float[Array, "*b H"],
        noise: Noise = (),
        recurrent_input: Float[Array, "*b H"] | None = None,
    ) -> tuple[ElmanCarry, Float[Array, "*b H"]]:
        """One step, as in the equation above."""
        del noise
        h_read = carry.h if recurrent_input is None else recurrent_input
        h = ACTIVATIONS[self.activation](z + product(h_read, params.w_h, self.dtype))
        return ElmanCarry(h), h
