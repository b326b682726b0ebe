"""A cell as a user writes one, in thirty lines: an LSTM whose input gate is 1 − f (Greff et al. 2015).

It stands for cells that the package does not know.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlstm_jax.cells.base import no_noise


class Params(NamedTuple):
    w_x: jax.Array
    w_h: jax.Array
    b: jax.Array


class Carry(NamedTuple):
    c: jax.Array
    h: jax.Array


@dataclass(frozen=True)
class Coupled:
    features: int
    sample_noise = staticmethod(no_noise)

    @property
    def out_features(self) -> int:
        return self.features

    def init(self, key: Any, in_features: int) -> Params:
        draw, width = jax.nn.initializers.glorot_uniform(), 3 * self.features
        w_x, w_h = (draw(jax.random.fold_in(key, rows), (rows, width)) for rows in (in_features, self.features))
        return Params(w_x, w_h, jnp.zeros(width))

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        return Carry(*[jnp.zeros((*batch_shape, self.features), jnp.float32)] * 2)

    def project(self, params: Params, x: Any) -> Any:
        return x @ params.w_x + params.b

    def step(
        self, params: Params, carry: Carry, z: Any, noise: Any = (), recurrent_input: Any = None
    ) -> tuple[Carry, Any]:
        f, g, o = jnp.split(z + (carry.h if recurrent_input is None else recurrent_input) @ params.w_h, 3, axis=-1)
        keep = jax.nn.sigmoid(f)
        c = keep * carry.c + (1 - keep) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return Carry(c, h), h
