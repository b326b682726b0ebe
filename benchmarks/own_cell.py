"""A user-defined cell in a few lines: an LSTM whose input gate is 1 − f (Greff et al. 2015).

It stands for cells that the package does not know.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import no_noise


class Params(NamedTuple):
    """The parameters of the cell.

    Attributes:
        w_x: The input kernel [D, 3 H].
        w_h: The recurrent kernel [H, 3 H].
        b: The bias [3 H].
    """

    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class Carry(NamedTuple):
    """The carry of the cell.

    Attributes:
        c: The memory [B, H].
        h: The output [B, H].
    """

    c: jax.Array
    h: jax.Array


@dataclass(frozen=True)
class Coupled:
    """An LSTM with coupled input and forget gates.

    Attributes:
        features: The number of hidden units H.
    """

    features: int
    sample_noise = staticmethod(no_noise)

    @property
    def out_features(self) -> int:
        """The width of the output."""
        return self.features

    def init(self, key: jax.Array, in_features: int) -> Params:
        """Draw the parameters for inputs of width `in_features`."""
        draw = jax.nn.initializers.glorot_uniform()
        width = 3 * self.features
        w_x = draw(jax.random.fold_in(key, in_features), (in_features, width))
        w_h = draw(jax.random.fold_in(key, self.features), (self.features, width))
        return Params(w_x, w_h, jnp.zeros(width))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """Return zeros."""
        zeros = jnp.zeros((*batch_shape, self.features), jnp.float32)
        return Carry(c=zeros, h=zeros)

    def project(self, params: Params, x: jax.Array) -> jax.Array:
        """Return the part of the gates that depends on the inputs alone."""
        return x @ params.w_x + params.b

    def step(
        self,
        params: Params,
        carry: Carry,
        z: jax.Array,
        noise: object = (),
        recurrent_input: jax.Array | None = None,
    ) -> tuple[Carry, jax.Array]:
        """Return the next carry and the output. `z` is the result of `project`."""
        h = carry.h if recurrent_input is None else recurrent_input
        f, g, o = jnp.split(z + h @ params.w_h, 3, axis=-1)
        keep = jax.nn.sigmoid(f)
        c = keep * carry.c + (1 - keep) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return Carry(c, h), h
