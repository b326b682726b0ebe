"""The operations of a step that have derivatives of their own: products with weights, and activations.

Both have the variables `inputs` and `outputs`; `apply(*operands)` returns the results, `replay(*operands, *results)`
the same on the way back, where they are differentiated.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Var

from nlstm_jax.types import Array


class WeightMatmul(NamedTuple):
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

    def transposed(self, w: Array) -> Array:
        """The weight as `replay` takes it: wᵀ, if this is x w, as a loop over ȳ wᵀ is faster with wᵀ in memory."""
        return w.T if self._is_plain else w

    def replay(self, x: Array, transposed: Array, tap: Array, y: Array) -> list[Array]:
        """`y`, which `apply` returned: the cotangent of x is ȳ wᵀ, that of `tap` is ȳ, and w has none."""

        @jax.custom_vjp
        def replayed(x: Array, transposed: Array, tap: Array, y: Array) -> Array:
            del x, transposed, tap
            return y

        def forward(x: Array, transposed: Array, tap: Array, y: Array) -> tuple[Array, Array]:
            del tap
            return y, transposed

        def backward(transposed: Array, y_bar: Array) -> tuple[Any, ...]:
            return self._input_cotangent(x, transposed, y_bar, transposed=self._is_plain), None, y_bar, None

        replayed.defvjp(forward, backward)
        return [replayed(x, transposed, tap, y)]

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

    def _input_cotangent(self, x: Array, w: Array, y_bar: Array, *, transposed: bool = False) -> Array:
        """ȳ wᵀ, in the precision of x."""
        rounded = self._rounded(y_bar)
        product = partial(self._product, w=w, transposed=transposed, dtype=rounded.dtype)
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

    def _product(self, x: Array, w: Array, *, transposed: bool = False, dtype: Any = None) -> Array:
        """The product; `dtype` is that of the result, if not the equation's own."""
        pair = (x, w) if self.equation.invars[0] is self.operand else (w, x)
        params = dict(self.equation.params)
        if dtype is not None:
            params["preferred_element_type"] = dtype
        if transposed:
            params["dimension_numbers"] = (((x.ndim - 1,), (1,)), ((), ()))
        return self.equation.primitive.bind(*pair, **params)


class GateActivations(NamedTuple):
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
        """Each piece's curve: neighbors that have the same one are one pass.

        σ(z) = ½ tanh(½ z) + ½ would need one pass for all, but rounds a saturated gate to a multiple of 6e-8.
        """
        results: list[Array] = []
        for name, sizes, block in self._blocks(z):
            if name:
                curve = jnp.tanh if name == "tanh" else jax.lax.logistic
                # Without a barrier XLA may compute it anew for everything that uses it.
                block = jax.lax.optimization_barrier(curve(block))
            results.extend(_split(block, sizes))
        return results

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

    def _blocks(self, z: Array) -> Iterator[tuple[str, tuple[int, ...], Array]]:
        """Neighboring pieces with one curve: its name, the pieces' sizes, and the part of `z` that they are."""
        pairs = itertools.groupby(zip(self.names, self.sizes, strict=True), key=lambda pair: pair[0])
        runs = [(name, tuple(int(size) for _, size in pieces)) for name, pieces in pairs]
        blocks = _split(z, tuple(sum(sizes) for _, sizes in runs))
        for (name, sizes), block in zip(runs, blocks, strict=True):
            yield name, sizes, block


def _split(array: Array, sizes: tuple[int, ...]) -> Sequence[Array]:
    """Parts of the last axis."""
    return jax.lax.split(array, sizes, axis=array.ndim - 1) if len(sizes) > 1 else [array]


Operation: TypeAlias = JaxprEqn | WeightMatmul | GateActivations
"""What a step is made of."""
