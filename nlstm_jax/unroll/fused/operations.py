"""The operations of a step that have derivatives of their own: matmuls with weights, and activations of gates.

Both have the variables `inputs` and `outputs` and two methods. `apply(*operands)` computes the results in the forward
loop. `replay(*operands, *results)` returns the stored results in the backward loop, and defines their derivative.
Gates have a faster form of `apply` for a forward loop that no backward loop follows.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Var
from jax.typing import DTypeLike

from nlstm_jax.types import Array
from nlstm_jax.unroll.fused.activations import activate
from nlstm_jax.unroll.fused.equations import aval


class WeightMatmul(NamedTuple):
    """A matmul of a value of the step with a weight, which depends on constants alone.

    Attributes:
        equation: The `dot_general` of the jaxpr; its operands are `operand` and `weight`, in either order.
        operand: The variable of the value.
        weight: The variable of the weight.
    """

    equation: JaxprEqn
    operand: Var
    weight: Var

    @property
    def inputs(self) -> tuple[Var, ...]:
        """The variables of the value and of the weight."""
        return self.operand, self.weight

    @property
    def outputs(self) -> tuple[Var, ...]:
        """The variable of the result."""
        return tuple(self.equation.outvars)

    def apply(self, x: Array, w: Array) -> list[Array]:
        """Compute the matmul."""
        return [self._matmul(x, w)]

    def transposed_weight(self, w: Array) -> Array:
        """Return the weight as `replay` takes it: wᵀ if the matmul is x w.

        A loop over ȳ wᵀ is faster with wᵀ in memory.
        """
        return w.T if self._is_plain else w

    def replay(self, x: Array, transposed: Array, cotangent_tap: Array, y: Array) -> list[Array]:
        """Return `y`, the stored result, with a derivative that leaves out the weight.

        Args:
            x: The value; its cotangent is ȳ wᵀ.
            transposed: The weight, as returned by `transposed_weight`; it has no cotangent.
            cotangent_tap: Zeros of the shape of y; its cotangent is ȳ, which the backward loop stacks.
            y: The result that `apply` returned; it has no cotangent.
        """

        @jax.custom_vjp
        def replayed(x: Array, transposed: Array, cotangent_tap: Array, y: Array) -> Array:
            del x, transposed, cotangent_tap
            return y

        def forward(x: Array, transposed: Array, cotangent_tap: Array, y: Array) -> tuple[Array, Array]:
            del cotangent_tap
            return y, transposed

        def backward(transposed: Array, y_bar: Array) -> tuple[Array | None, ...]:
            x_bar = self._input_cotangent(x, transposed, y_bar, transposed=self._is_plain)
            return x_bar, None, y_bar, None

        replayed.defvjp(forward, backward)
        return [replayed(x, transposed, cotangent_tap, y)]

    def apply_hoisted(self, x: Array, w: Array) -> list[Array]:
        """Compute the matmul outside of a loop, with the cotangent of the weight as in `weight_cotangent`."""

        @jax.custom_vjp
        def matmul(x: Array, w: Array) -> Array:
            return self._matmul(x, w)

        def forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
            return self._matmul(x, w), (x, w)

        def backward(stored: tuple[Array, Array], y_bar: Array) -> tuple[Array, Array]:
            x, w = stored
            return self._input_cotangent(x, w, y_bar), self.weight_cotangent(x, w, y_bar)

        matmul.defvjp(forward, backward)
        return [matmul(x, w)]

    def weight_cotangent(self, x: Array, w: Array, y_bar: Array) -> Array:
        """Return the cotangent of the weight, xᵀ ȳ, summed over time if `x` and `y_bar` have a leading axis for it."""
        rounded = self._round_cotangent(y_bar)
        if self._is_plain:
            # JAX computes the transpose, ȳᵀ x, for which XLA copies ȳ on a CPU. That is 2 to 3 times slower.
            axes = tuple(range(x.ndim - 1))
            w_bar = jax.lax.dot_general(x, rounded, ((axes, axes), ((), ())), preferred_element_type=y_bar.dtype)
            return w_bar.astype(w.dtype)

        matmul = partial(self._matmul, dtype=rounded.dtype)
        has_time_axis = x.ndim > len(aval(self.operand).shape)
        if has_time_axis:
            matmul = jax.vmap(matmul, (0, None))
        (w_bar,) = jax.linear_transpose(lambda w: matmul(x, w), w)(rounded)
        return w_bar

    def _input_cotangent(self, x: Array, w: Array, y_bar: Array, *, transposed: bool = False) -> Array:
        """Return ȳ wᵀ in the precision of x.

        Args:
            x: The value; only its shape and dtype matter.
            w: The weight.
            y_bar: The cotangent of the result.
            transposed: True if `w` is the transposed weight.
        """
        rounded = self._round_cotangent(y_bar)
        matmul = partial(self._matmul, w=w, transposed=transposed, dtype=rounded.dtype)
        (x_bar,) = jax.linear_transpose(matmul, x)(rounded)
        return x_bar

    def _round_cotangent(self, y_bar: Array) -> Array:
        """Round ȳ to the precision of the factors, if both have the same.

        Factors in bfloat16 have a result, and so a cotangent, in float32. A matmul of that cotangent with a bfloat16
        factor would be computed in float32, which takes several times as long where there is bfloat16 hardware.
        """
        operand_dtype = aval(self.operand).dtype
        weight_dtype = aval(self.weight).dtype
        if operand_dtype != weight_dtype:
            return y_bar
        return y_bar.astype(operand_dtype)

    @property
    def _is_plain(self) -> bool:
        """True if the matmul is x w, where w is a matrix and the last axis of x is contracted."""
        last_axis = len(aval(self.operand).shape) - 1
        contracts_last_axis = self.equation.params["dimension_numbers"] == (((last_axis,), (0,)), ((), ()))
        operand_is_first = self.equation.invars[0] is self.operand
        weight_is_matrix = len(aval(self.weight).shape) == 2
        return contracts_last_axis and operand_is_first and weight_is_matrix

    def _matmul(self, x: Array, w: Array, *, transposed: bool = False, dtype: DTypeLike | None = None) -> Array:
        """Compute the matmul of the equation on other arrays.

        Args:
            x: The value.
            w: The weight.
            transposed: True if `w` is the transposed weight of a plain matmul.
            dtype: The dtype of the result; None: that of the equation.
        """
        operand_is_first = self.equation.invars[0] is self.operand
        operands = (x, w) if operand_is_first else (w, x)
        params = dict(self.equation.params)
        if dtype is not None:
            params["preferred_element_type"] = dtype
        if transposed:
            params["dimension_numbers"] = (((x.ndim - 1,), (1,)), ((), ()))
        return self.equation.primitive.bind(*operands, **params)


class GateActivations(NamedTuple):
    """The activations of gates that lie side by side along the last axis of one array.

    Attributes:
        source: The variable of the array.
        names: The activation of each gate: "tanh", "logistic", or "" for a gate that stays linear.
        sizes: The width of each gate.
        outputs: The variables of the gates after their activations.
    """

    source: Var
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    outputs: tuple[Var, ...]

    @property
    def inputs(self) -> tuple[Var, ...]:
        """The variable of the array."""
        return (self.source,)

    def apply(self, z: Array) -> list[Array]:
        """Apply the activation of each gate.

        The σ of all of `z` is computed in one pass, and then split into gates. XLA would compute the σ of a single
        gate inside the loop that uses it, over a strided slice; that takes twice as long as a whole step does.
        σ(z) = ½ tanh(½ z) + ½ would be a little faster, but it rounds a saturated gate to a multiple of 6e-8.
        """
        sigmoids = jax.lax.logistic(z) if "logistic" in self.names else z
        gates = []
        for name, linear, sigmoid in zip(self.names, self._split(z), self._split(sigmoids), strict=True):
            if name == "logistic":
                gates.append(sigmoid)
            elif name == "tanh":
                gates.append(jnp.tanh(linear))
            else:
                gates.append(linear)
        # Without a barrier XLA may compute a gate again for every use of it.
        return list(jax.lax.optimization_barrier(gates))

    def apply_unrecorded(self, z: Array) -> list[Array]:
        """Apply the activation of each gate in a loop that records no gates.

        All gates come from one exponential, where `activate` serves. With records it would be 2 to 8 % slower than
        `apply` at 40 units; without, it is 1.1 to 4 times as fast (measured on a CPU, `benchmarks.recurrent`).
        """
        if z.dtype != jnp.float32 or "logistic" not in self.names:
            return self.apply(z)
        activated = self._split(activate(z, self.names, self.sizes))
        gates = []
        for name, linear, gate in zip(self.names, self._split(z), activated, strict=True):
            gates.append(gate if name else linear)
        return gates

    def apply_each(self, z: Array) -> list[Array]:
        """Apply the activation of each gate, as operations of their own."""
        functions = {"logistic": jax.lax.logistic, "tanh": jnp.tanh}
        return [functions[name](part) if name else part for name, part in zip(self.names, self._split(z), strict=True)]

    def replay(self, z: Array, *gates: Array) -> list[Array]:
        """Return the gates that `apply` returned, with a derivative that is computed from them alone."""

        @jax.custom_vjp
        def replayed(z: Array, gates: tuple[Array, ...]) -> tuple[Array, ...]:
            del z
            return gates

        def forward(z: Array, gates: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
            del z
            return gates, gates

        def backward(gates: tuple[Array, ...], gate_bars: tuple[Array, ...]) -> tuple[Array | None, ...]:
            z_bars = []
            for name, gate, gate_bar in zip(self.names, gates, gate_bars, strict=True):
                if name == "logistic":
                    z_bars.append(gate_bar * (gate * (1 - gate)))
                elif name == "tanh":
                    z_bars.append(gate_bar * (1 - gate * gate))
                else:
                    z_bars.append(gate_bar)
            if len(z_bars) == 1:
                return z_bars[0], None
            return jnp.concatenate(z_bars, axis=-1), None

        replayed.defvjp(forward, backward)
        return list(replayed(z, gates))

    def _split(self, array: Array) -> Sequence[Array]:
        """Split the last axis into the gates."""
        if len(self.sizes) <= 1:
            return [array]
        return jax.lax.split(array, self.sizes, axis=array.ndim - 1)


Pattern: TypeAlias = WeightMatmul | GateActivations
"""Equations that have been recognized as an operation with a derivative of its own."""

Operation: TypeAlias = JaxprEqn | Pattern
"""An element of a step."""
