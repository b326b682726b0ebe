"""The operations of a step that have derivatives of their own: products with weights, and activations.

Both have the variables `inputs` and `outputs`; `apply(*operands)` returns the results, `replay(*operands, *results)`
the same on the way back, where they are differentiated.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Var

from nlstm_jax.types import Array


class Product(NamedTuple):
    """A product of something of the step's with a weight, which depends on constants alone."""

    equation: JaxprEqn
    operand: Var
    weight: Var

    @property
    def inputs(self) -> tuple[Var, ...]:
        """What is multiplied, and the weight."""
        return self.operand, self.weight

    @property
    def outputs(self) -> tuple[Var, ...]:
        """The product."""
        return tuple(self.equation.outvars)

    def apply(self, x: Array, w: Array) -> list[Array]:
        """The product."""
        return [self._product(x, w)]

    def turned(self, w: Array) -> Array:
        """The weight as `replay` takes it: wᵀ, if this is x w, as a loop over ȳ wᵀ is faster with wᵀ in memory."""
        return w.T if self._is_plain else w

    def replay(self, x: Array, turned: Array, tap: Array, y: Array) -> list[Array]:
        """`y`, which `apply` returned: the cotangent of x is ȳ wᵀ, that of `tap` is ȳ, and w has none."""

        @jax.custom_vjp
        def replayed(x: Array, turned: Array, tap: Array, y: Array) -> Array:
            del x, turned, tap
            return y

        def forward(x: Array, turned: Array, tap: Array, y: Array) -> tuple[Array, Array]:
            del tap
            return y, turned

        def backward(turned: Array, y_bar: Array) -> tuple[Any, ...]:
            return self._input_cotangent(x, turned, y_bar, turned=self._is_plain), None, y_bar, None

        replayed.defvjp(forward, backward)
        return [replayed(x, turned, tap, y)]

    def whole(self, x: Array, w: Array) -> list[Array]:
        """The product outside of a loop, its weight's cotangent as in `weight_cotangent`."""

        @jax.custom_vjp
        def product(x: Array, w: Array) -> Array:
            return self._product(x, w)

        def backward(stored: tuple[Array, Array], y_bar: Array) -> tuple[Array, Array]:
            x, w = stored
            return self._input_cotangent(x, w, y_bar), self.weight_cotangent(x, w, y_bar)

        product.defvjp(lambda x, w: (self._product(x, w), (x, w)), backward)
        return [product(x, w)]

    def weight_cotangent(self, x: Array, w: Array, y_bar: Array) -> Array:
        """xᵀ ȳ; both may have one more leading axis, time."""
        rounded = self._rounded(y_bar)
        if self._is_plain:
            # JAX would have it the other way round, ȳᵀ x, for which XLA copies ȳ on a CPU: 2 to 3 times slower.
            axes = tuple(range(x.ndim - 1))
            w_bar = jax.lax.dot_general(x, rounded, ((axes, axes), ((), ())), preferred_element_type=y_bar.dtype)
            return w_bar.astype(w.dtype)
        over_time = x.ndim > len(self.operand.aval.shape)  # type: ignore[attr-defined]
        product = partial(self._product, dtype=rounded.dtype)
        product = jax.vmap(product, (0, None)) if over_time else product
        (w_bar,) = jax.linear_transpose(lambda w: product(x, w), w)(rounded)
        return w_bar

    def _input_cotangent(self, x: Array, w: Array, y_bar: Array, *, turned: bool = False) -> Array:
        """ȳ wᵀ, in the precision of x."""
        rounded = self._rounded(y_bar)
        product = partial(self._product, w=w, turned=turned, dtype=rounded.dtype)
        (x_bar,) = jax.linear_transpose(product, x)(rounded)
        return x_bar

    def _rounded(self, y_bar: Array) -> Array:
        """ȳ in the precision of the factors.

        Factors in bfloat16 have a product, and so a cotangent, in float32. A product of that with a bfloat16 factor
        would be computed in float32, which takes several times as long where there is bfloat16 hardware.
        """
        factor, weight = (var.aval.dtype for var in (self.operand, self.weight))  # type: ignore[attr-defined]
        return y_bar.astype(factor) if factor == weight else y_bar

    @property
    def _is_plain(self) -> bool:
        """Whether it is x w, a matrix behind x' last axis."""
        last = len(self.operand.aval.shape) - 1  # type: ignore[attr-defined]
        plain = self.equation.params["dimension_numbers"] == (((last,), (0,)), ((), ()))
        return plain and self.equation.invars[0] is self.operand and len(self.weight.aval.shape) == 2  # type: ignore[attr-defined]

    def _product(self, x: Array, w: Array, *, turned: bool = False, dtype: Any = None) -> Array:
        """The product; `dtype` is that of the result, if not the equation's own."""
        pair = (x, w) if self.equation.invars[0] is self.operand else (w, x)
        params = dict(self.equation.params)
        if dtype is not None:
            params["preferred_element_type"] = dtype
        if turned:
            params["dimension_numbers"] = (((x.ndim - 1,), (1,)), ((), ()))
        return self.equation.primitive.bind(*pair, **params)


class Curves(NamedTuple):
    """σ, tanh or nothing (by the name "") of each piece of one array, side by side along its last axis."""

    source: Var
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    outputs: tuple[Var, ...]

    @property
    def inputs(self) -> tuple[Var, ...]:
        """The array."""
        return (self.source,)

    def apply(self, z: Array) -> list[Array]:
        """Each piece's curve.

        σ is computed of all of `z` in one pass and then cut: of each piece by itself XLA would compute it within the
        loop that uses it, over a strided slice, which takes twice as long as a whole step. σ(z) = ½ tanh(½ z) + ½
        would be a little faster, but rounds a saturated gate to a multiple of 6e-8.
        """
        gates = jax.lax.logistic(z) if "logistic" in self.names else z
        results = []
        for name, piece, gate in zip(self.names, self._split(z), self._split(gates), strict=True):
            if name == "logistic":
                results.append(gate)
            else:
                results.append(jnp.tanh(piece) if name else piece)
        # Without a barrier XLA may compute a piece anew for everything that uses it.
        return list(jax.lax.optimization_barrier(results))

    def replay(self, z: Array, *pieces: Array) -> list[Array]:
        """The pieces, which `apply` returned, and from which the derivative is taken."""

        @jax.custom_vjp
        def replayed(z: Array, pieces: tuple[Array, ...]) -> tuple[Array, ...]:
            del z
            return pieces

        def backward(pieces: tuple[Array, ...], bars: tuple[Array, ...]) -> tuple[Any, ...]:
            results = []
            for name, piece, bar in zip(self.names, pieces, bars, strict=True):
                if name == "logistic":
                    results.append(bar * (piece * (1 - piece)))
                else:
                    results.append(bar * (1 - piece * piece) if name else bar)
            return results[0] if len(results) == 1 else jnp.concatenate(results, axis=-1), None

        replayed.defvjp(lambda z, pieces: (pieces, pieces), backward)
        return list(replayed(z, pieces))

    def _split(self, array: Array) -> Sequence[Array]:
        """The pieces of the last axis."""
        return jax.lax.split(array, self.sizes, axis=array.ndim - 1) if len(self.sizes) > 1 else [array]


Operation: TypeAlias = JaxprEqn | Product | Curves
"""What a step is made of."""
